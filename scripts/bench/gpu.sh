#!/usr/bin/env bash
# Checks and times snnfit on a GPU beside PyTorch and JAX, in one call of under ten minutes, on a machine without Rust
# and without network. It runs in a folder that pack.sh made. Writes one JSON file; `gpu.sh -h` lists the options.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

usage() {
  cat <<'END'
Usage: gpu.sh [OPTIONS] [DIR]

DIR is the folder that pack.sh made [default: the one that this script is in]. A step that fails or takes too long is
recorded, and the others go on. The file is replaced after each step. The summary goes to stdout, progress to stderr.

Options:
  --device D            device of snnfit: wgpu, wgpu:N, cpu [default: wgpu]
  --baseline-device D   cuda or cpu [default: cuda]
  --scale S             full, or small: sizes that test this script [default: full]
  --parts LIST          some of checks,speed,training,six-area,repeat,compile,sizes, always in this order [default: all]
  --out FILE            result [default: gpu_bench.json, in the folder $OUT if that is set]
  --budget S            no step begins after so many seconds; those under way may take a minute more [default: 510]
  --compile-limit S     time limit of torch.compile, s [default: 120]
  -h, --help            this text

Parts:
  checks    small networks and the quick start on the processor and on the device: the same spikes and losses
  speed     one training step, N = 1500, K = 150, T = 700, D = 2: snnfit, PyTorch, JAX; float32 and TF32
  training  `snnfit train` with these sizes, trial matching and the splitter, on the device and on the processor
  six-area  `snnfit train` of configs/six_area_soft.toml on the device: 1500 neurons, 28 sessions, soft trial matching; its
            recording takes a minute or two to make unless it is in the pack
  repeat    the float32 runs of `speed` once more
  compile   PyTorch with torch.compile
  sizes     the four sizes of compare.sh: snnfit, PyTorch, JAX, float32

Environment:
  PYTHON           Python with torch and jax [default: python3]
  VK_DRIVER_FILES  manifest of the Vulkan driver [default: the installed ones; that of NVIDIA is looked for]

Exit code: 0 the file is written, whatever the steps gave; 1 it can't be; 2 usage.
END
}

say() { printf 'gpu: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
misused() { say "$*; gpu.sh -h lists the options"; exit 2; }

python=${PYTHON:-python3}
device=wgpu
baseline_device=cuda
scale=full
parts=checks,speed,training,six-area,repeat,compile,sizes
out=${OUT:-.}/gpu_bench.json
budget=510
compile_limit=120
pack=

while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --device | --baseline-device | --scale | --parts | --out | --budget | --compile-limit)
      [ $# -ge 2 ] || misused "$1 needs a value" ;;
    -*) misused "unexpected argument '$1'" ;;
    *)
      [ -z "$pack" ] || misused "unexpected argument '$1'"
      pack=$1
      shift
      continue ;;
  esac
  case $1 in
    --device) device=$2 ;;
    --baseline-device) baseline_device=$2 ;;
    --scale) scale=$2 ;;
    --parts) parts=$2 ;;
    --out) out=$2 ;;
    --budget) budget=$2 ;;
    --compile-limit) compile_limit=$2 ;;
  esac
  shift 2
done

[[ $device =~ ^(cpu|wgpu(:[0-9]+)?)$ ]] || misused "--device is '$device'; expected wgpu, wgpu:N or cpu"
[[ $baseline_device =~ ^(cpu|cuda)$ ]] || misused "--baseline-device is '$baseline_device'; expected cuda or cpu"
[[ $scale =~ ^(full|small)$ ]] || misused "--scale is '$scale'; expected full or small"
[[ $budget =~ ^[1-9][0-9]{0,4}$ ]] || misused "--budget is '$budget'; expected seconds"
[[ $compile_limit =~ ^[1-9][0-9]{0,4}$ ]] || misused "--compile-limit is '$compile_limit'; expected seconds"
IFS=, read -r -a wanted <<<"$parts"
for part in "${wanted[@]}"; do
  case $part in
    checks | speed | training | six-area | repeat | compile | sizes) ;;
    *) misused "there is no part '$part'" ;;
  esac
done
wants() { [[ ,$parts, == *,$1,* ]]; }

pack=$(cd "${pack:-$here}" && pwd) || fail "no folder to work on"
command -v "$python" >/dev/null || fail "no Python called '$python'; set PYTHON"
command -v timeout >/dev/null || fail "no program 'timeout'"
for file in payload.tar.gz baseline/torch_rsnn.py baseline/jax_rsnn.py configs/quickstart.toml configs/six_area_soft.toml; do
  [ -f "$pack/$file" ] || fail "no $pack/$file; pack.sh makes this folder"
done
if ! mkdir -p "$(dirname "$out")" || ! : >>"$out"; then
  fail "$out can't be written"
fi

work=$(mktemp -d)
child=
# A step runs under `timeout`, which passes signals on to all of its processes.
stop() {
  if [ -n "$child" ]; then
    kill "$child" 2>/dev/null || true
  fi
  say "stopped; $out has what was done until then"
  exit 130
}
trap 'rm -rf "$work"' EXIT
trap stop INT TERM

tar -xzf "$pack/payload.tar.gz" -C "$work"
mkdir -p "$work/configs" "$work/data" "$work/xdg"
cp "$pack/configs/quickstart.toml" "$pack/configs/six_area_soft.toml" "$work/configs/"
[ -n "${XDG_RUNTIME_DIR:-}" ] || export XDG_RUNTIME_DIR=$work/xdg # asked for by some Vulkan drivers
unset OMP_NUM_THREADS OMP_THREAD_LIMIT MKL_NUM_THREADS OPENBLAS_NUM_THREADS RAYON_NUM_THREADS
threads=$(nproc)

# Containers mount NVIDIA's driver where the Vulkan loader doesn't look.
manifest=${VK_DRIVER_FILES:-}
if [ -z "$manifest" ]; then
  for file in /etc/vulkan/icd.d/*nvidia*icd*.json /usr/share/vulkan/icd.d/*nvidia*icd*.json \
    /usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json; do
    if [ -f "$file" ]; then
      manifest=$file
      break
    fi
  done
  case $manifest in
    /usr/local/*) export VK_DRIVER_FILES=$manifest ;;
  esac
fi

# The packed libraries are for snnfit alone: Python has its own.
snnfit=(env "LD_LIBRARY_PATH=$work/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$work/bin/snnfit")

report() { "$python" -B "$here/gpu_report.py" "$@"; }

# step LIMIT NAME [KEY=VALUE ...] -- COMMAND: runs it, unless time is out, and records what came of it.
step() {
  local limit=$1 name=$2 meta=() begin seconds status=0 left
  shift 2
  while [ "$1" != -- ]; do
    meta+=("$1")
    shift
  done
  shift
  : >"$work/stdout"
  : >"$work/stderr"
  if [ "$SECONDS" -ge "$budget" ]; then
    say "$name: skipped: out of time"
    report record "$work" "$out" "$name" skipped 0 "$limit" "reason=out of time" "${meta[@]}" -- "$@" ||
      say "$name could not be recorded"
    return
  fi
  left=$((budget + 60 - SECONDS))
  [ "$limit" -le "$left" ] || limit=$left
  begin=$EPOCHREALTIME
  timeout -k 5 "$limit" "$@" >"$work/stdout" 2>"$work/stderr" </dev/null &
  child=$!
  wait "$child" || status=$?
  child=
  seconds=$((${EPOCHREALTIME/[.,]/} - ${begin/[.,]/}))e-6
  report record "$work" "$out" "$name" "$status" "$seconds" "$limit" "${meta[@]}" -- "$@" >&2 ||
    say "$name could not be recorded"
}

report begin "$work" "$out" device="$device" baseline_device="$baseline_device" scale="$scale" parts="$parts" \
  threads="$threads" vulkan_manifest="${manifest:-none of NVIDIA}" pack="$(cat "$pack/PACK.txt" 2>/dev/null || true)"

# Sizes: N K T D GAIN.
if [ "$scale" = full ]; then
  checked=("100 20 200 2 0.3" "500 50 250 2 0.3" "100 20 200 24 0.04")
  seeds=(0 1)
  main="1500 150 700 2 0.3"
  others=("artificial 500 200 250 2 0.3" "recorded 1500 30 700 2 0.3" "large 4000 16 200 2 0.3"
    "spike-history 100 50 600 24 0.04")
  reps=10
  quick=(--set train.max_steps=20)
  synth=(--sessions 6 --neurons 250 --excitatory 200 --trials 100 --trial-ms 1400
    --session-areas "both,both,both,both,both,both")
  large=(1500 150)
  six=(--set train.validation_trials=10)
  synth_six=()
  steps=12
  steps_cpu=3
else
  checked=("30 4 20 2 0.3" "20 4 30 5 0.1")
  seeds=(0)
  main="40 6 30 2 0.3"
  others=("artificial 30 6 30 2 0.3" "spike-history 20 4 40 6 0.1")
  reps=2
  quick=(--set train.max_steps=4 --set train.n_trials=6 --set train.validation_trials=6)
  synth=(--small)
  large=(60 6)
  six=(--set train.validation_trials=6 --set train.n_trials=6 --set model.rsnn.n_neurons=60)
  synth_six=(--small)
  steps=4
  steps_cpu=4
fi
is_same_device=no
[ "$device" != cpu ] || is_same_device=yes

bench() { # part case "N K T D GAIN" device noise reps seed round
  local n k t d gain
  read -r n k t d gain <<<"$3"
  step 90 "$1: $2, snnfit $4, noise $5, seed $7, round $8" part="$1" case="$2" program=snnfit device="$4" noise="$5" \
    seed="$7" round="$8" size="$3" -- "${snnfit[@]}" bench --device "$4" --noise "$5" --threads "$threads" \
    --n "$n" --k "$k" --t "$t" --d "$d" --gain "$gain" --n-in 200 --reps "$6" --seed "$7" --format json
}

baseline() { # part case "N K T D GAIN" program precision reps round
  local n k t d gain limit=90 command
  read -r n k t d gain <<<"$3"
  local size=(--n "$n" --k "$k" --t "$t" --d "$d" --gain "$gain" --n-in 200 --reps "$6")
  local torch=("$pack/baseline/torch_rsnn.py" "${size[@]}" --device "$baseline_device" --threads "$threads")
  # The arguments of the script follow; TF32 has no option there.
  local with_tf32='import runpy, sys, torch
torch.set_float32_matmul_precision("high")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")'
  local jax=(XLA_PYTHON_CLIENT_PREALLOCATE=false "JAX_PLATFORMS=$baseline_device")
  case $4,$5 in
    torch,float32) command=("$python" "${torch[@]}") ;;
    torch,tf32) command=("$python" -c "$with_tf32" "${torch[@]}") ;;
    torch-compile,float32)
      command=("$python" "${torch[@]}" --compile)
      limit=$compile_limit ;;
    jax,float32) command=(env "${jax[@]}" JAX_DEFAULT_MATMUL_PRECISION=highest "$python") ;;
    jax,tf32) command=(env -u JAX_DEFAULT_MATMUL_PRECISION "${jax[@]}" "$python") ;;
  esac
  case $4 in
    jax) command+=("$pack/baseline/jax_rsnn.py" "${size[@]}") ;;
  esac
  step "$limit" "$1: $2, $4 $5, round $7" part="$1" case="$2" program="$4" precision="$5" round="$7" size="$3" -- \
    "${command[@]}"
}

train() { # name config device limit option...
  local name=$1 config=$2 on=$3 limit=$4 run
  shift 4
  run=$work/runs/$name-${on/:/-}
  step "$limit" "train: $name on $on" part=train case="$name" program=snnfit device="$on" run="$run" -- \
    "${snnfit[@]}" train --config "$config" --out "$run" --device "$on" --threads "$threads" --progress none \
    --set train.log_every=1 "$@"
}

# What is here.
step 30 "snnfit --version" part=machine -- "${snnfit[@]}" --version
step 60 "snnfit devices" part=machine -- "${snnfit[@]}" devices --format json
step 30 "nvidia-smi" part=machine -- \
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader
step 30 "versions" part=machine -- "$python" -B "$here/gpu_report.py" versions

if wants checks; then
  for seed in "${seeds[@]}"; do
    for size in "${checked[@]}"; do
      bench checks "${size// //}" "$size" cpu philox 1 "$seed" 1
      [ "$is_same_device" = yes ] || bench checks "${size// //}" "$size" "$device" philox 1 "$seed" 1
    done
  done
  step 30 "data of the quick start" part=data -- \
    "${snnfit[@]}" synth two-area --small --out "$work/data/quickstart.h5"
  train quickstart "$work/configs/quickstart.toml" cpu 60 "${quick[@]}"
  [ "$is_same_device" = yes ] || train quickstart "$work/configs/quickstart.toml" "$device" 60 "${quick[@]}"
fi

# The step that is used, the one with arrays as the baselines have them, and the baselines.
if wants speed; then
  bench speed main "$main" "$device" philox "$reps" 0 1
  baseline speed main "$main" torch float32 "$reps" 1
  baseline speed main "$main" jax float32 "$reps" 1
  bench speed main "$main" "$device" given 3 0 1
  baseline speed main "$main" torch tf32 "$reps" 1
  baseline speed main "$main" jax tf32 "$reps" 1
fi

if wants training; then
  cat >"$work/configs/large.toml" <<END
schema = 1
[data]
files = ["../data/large.h5"]
bin_ms = 2.0
[model.rsnn]
n_neurons = ${large[0]}
delay_groups = 2
max_delay_ms = 6.0
[model.rsnn.input.poisson]
[model.rsnn.latent.mlp]
[[loss]]
psth = { weight = 10.0 }
[[loss]]
trial_matching = { weight = 100.0 }
[optimizer.adamw]
[train]
n_trials = ${large[1]}
max_steps = $steps
validation_trials = 10
checkpoint_every = 1000
END
  step 60 "data of the large network" part=data -- \
    "${snnfit[@]}" synth two-area "${synth[@]}" --out "$work/data/large.h5"
  train large "$work/configs/large.toml" "$device" 90
  [ "$is_same_device" = yes ] || train large "$work/configs/large.toml" cpu 75 --set "train.max_steps=$steps_cpu"
fi

if wants six-area; then
  if [ "$scale" = full ] && [ -f "$pack/data/six_area.h5" ]; then
    ln -s "$pack/data/six_area.h5" "$work/data/six_area.h5"
  else
    step 200 "data of six areas" part=data -- \
      "${snnfit[@]}" synth six-area "${synth_six[@]}" --out "$work/data/six_area.h5"
  fi
  train six-area "$work/configs/six_area_soft.toml" "$device" 90 --set "train.max_steps=$steps" \
    --set train.checkpoint_every=1000 "${six[@]}"
fi

if wants repeat; then
  baseline speed main "$main" jax float32 "$reps" 2
  baseline speed main "$main" torch float32 "$reps" 2
  bench speed main "$main" "$device" philox "$reps" 0 2
fi

if wants compile; then
  baseline speed main "$main" torch-compile float32 "$reps" 1
fi

if wants sizes; then
  for other in "${others[@]}"; do
    name=${other%% *}
    size=${other#* }
    bench sizes "$name" "$size" "$device" philox "$reps" 0 1
    baseline sizes "$name" "$size" torch float32 "$reps" 1
    baseline sizes "$name" "$size" jax float32 "$reps" 1
    bench sizes "$name" "$size" "$device" given 3 0 1
  done
fi

report summary "$work" "$out"
say "$SECONDS s; results: $out"
