#!/usr/bin/env bash
# Times one training step of snnfit against the same step in JAX and PyTorch on the processor: alternately, each run a
# process of its own, in an order that rotates from round to round. Prints Markdown; `compare.sh -h` lists the options.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

usage() {
  cat <<'END'
Usage: scripts/bench/compare.sh [OPTIONS]

Times snnfit (--noise given, and --noise philox), JAX and PyTorch on the processor and prints, for each case, medians
over the rounds and the ratios within a round. It builds nothing. Markdown goes to stdout, progress to stderr.

Options:
  --snnfit FILE         program to time [default: ${CARGO_TARGET_DIR:-target}/release/snnfit]
  --rounds N            rounds; figures of fewer than 5 are not to be quoted [default: 5]
  --reps N              repetitions of each process after one warm-up; it reports their median [default: 3]
  --cases LIST          comma-separated [default: artificial,recorded,large,spike-history]; NAME=N/K/T/D/GAIN is a case
                        of your own, without targets, such as tiny=60/8/40/2/0.3
  --out FILE            raw results, one JSON object a line; must not exist
                        [default: ${CARGO_TARGET_DIR:-target}/bench/compare-TIME.ndjson]
  --snnfit-flags FLAGS  more options of `snnfit bench`, separated by spaces, for both of its runs
  --gflops X            dense float32 products of one core, for the floor of the gradient [default: 95]
  --skip-torch, --skip-jax
                        leave a baseline out
  -h, --help            this text

Environment:
  PYTHON         Python with jax and torch [default: python3]
  SNNFIT_SHARED  folder with baseline/torch_rsnn.py and baseline/jax_rsnn.py [default: ../shared beside the repository]

Exit code: 0 measured, whether targets are met or not; 1 a program failed, or a case was refused because its spike
densities make the times incomparable; 2 usage.

`python3 scripts/bench/summarise.py table FILE` prints the tables of a file of raw results again.
END
}

say() { printf 'compare: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
misused() { say "$*; compare.sh -h lists the options"; exit 2; }

target=${CARGO_TARGET_DIR:-$root/target}
python=${PYTHON:-python3}
baselines=${SNNFIT_SHARED:-$root/../shared}/baseline
snnfit=$target/release/snnfit
rounds=5
reps=3
cases=artificial,recorded,large,spike-history
out=
flags=
gflops=95
programs=(snnfit jax torch snnfit-philox)

without() { # program
  local kept=() program
  for program in "${programs[@]}"; do
    [ "$program" = "$1" ] || kept+=("$program")
  done
  programs=("${kept[@]}")
}

while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    --skip-torch) without torch; shift; continue ;;
    --skip-jax) without jax; shift; continue ;;
    --snnfit | --rounds | --reps | --cases | --out | --snnfit-flags | --gflops)
      [ $# -ge 2 ] || misused "$1 needs a value" ;;
    *) misused "unexpected argument '$1'" ;;
  esac
  case $1 in
    --snnfit) snnfit=$2 ;;
    --rounds) rounds=$2 ;;
    --reps) reps=$2 ;;
    --cases) cases=$2 ;;
    --out) out=$2 ;;
    --snnfit-flags) flags=$2 ;;
    --gflops) gflops=$2 ;;
  esac
  shift 2
done

is_count() { [[ $1 =~ ^[1-9][0-9]{0,4}$ ]]; }
is_positive() { [[ $1 =~ ^([0-9]+(\.[0-9]*)?|\.[0-9]+)$ && $1 =~ [1-9] ]]; }

is_count "$rounds" || misused "--rounds is '$rounds'; expected a number from 1"
is_count "$reps" || misused "--reps is '$reps'; expected a number from 1"
is_positive "$gflops" || misused "--gflops is '$gflops'; expected a number above 0"

# N K T D GAIN of each case; the inputs are 200 everywhere.
declare -A sizes=()
names=()
IFS=, read -r -a wanted <<<"$cases"
for item in "${wanted[@]}"; do
  name=$item
  case $item in
    artificial) size="500 200 250 2 0.3" ;;
    recorded) size="1500 30 700 2 0.3" ;;
    large) size="4000 16 200 2 0.3" ;;
    spike-history) size="100 50 600 24 0.04" ;;
    *=*)
      name=${item%%=*}
      size=${item#*=}
      IFS=/ read -r n k t d gain rest <<<"$size"
      if [ -n "$rest" ] || ! [[ $name =~ ^[A-Za-z0-9_-]+$ ]] || ! is_positive "$gain" ||
        ! { is_count "$n" && is_count "$k" && is_count "$t" && is_count "$d"; }; then
        misused "case '$item' is not NAME=N/K/T/D/GAIN"
      fi
      case $name in
        artificial | recorded | large | spike-history) misused "case '$name' has a size already" ;;
      esac
      size="$n $k $t $d $gain" ;;
    *) misused "there is no case '$item'" ;;
  esac
  [ -z "${sizes[$name]:-}" ] || misused "case '$name' is there twice"
  sizes[$name]=$size
  names+=("$name")
done
[ ${#names[@]} -gt 0 ] || misused "--cases is empty"
[ ${#programs[@]} -gt 2 ] || misused "with both baselines left out nothing is compared"

# What has to be there, before anything is timed.
if ! [ -f "$snnfit" ] || ! [ -x "$snnfit" ]; then
  fail "no program at $snnfit; build it with
  cargo build --release --workspace
or name another with --snnfit"
fi
snnfit=$(realpath "$snnfit")
command -v "$python" >/dev/null || fail "no Python called '$python'; set PYTHON"
for program in "${programs[@]}"; do
  case $program in snnfit*) continue ;; esac
  script=$baselines/${program}_rsnn.py
  [ -f "$script" ] || fail "there is no $script; set SNNFIT_SHARED, or --skip-$program"
  "$python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$program') is None)" ||
    fail "$python has no $program; set PYTHON to one that has, or --skip-$program"
done
[ -n "$out" ] || out=$target/bench/compare-$(date -u +%Y%m%dT%H%M%SZ).ndjson
[ ! -e "$out" ] || fail "$out exists"
mkdir -p "$(dirname "$out")"

# What would give a program fewer threads than the others.
unset OMP_NUM_THREADS OMP_THREAD_LIMIT MKL_NUM_THREADS OPENBLAS_NUM_THREADS RAYON_NUM_THREADS XLA_FLAGS
threads=$(nproc)
read -r -a extra <<<"$flags"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The commit that the program was built from stands in the manifest of a run.
built_from() {
  printf '%s\n' 'schema = 1' '[data]' 'files = ["probe.h5"]' 'bin_ms = 2.0' '[model.rsnn]' \
    '[model.rsnn.input.poisson]' '[[loss]]' 'psth = { weight = 1.0 }' '[optimizer.adamw]' '[train]' \
    'n_trials = 2' 'max_steps = 1' 'validation_trials = 2' >"$work/probe.toml"
  "$snnfit" synth two-area --small --out "$work/probe.h5" >/dev/null 2>&1 &&
    "$snnfit" train --config "$work/probe.toml" --out "$work/probe" --device cpu >/dev/null 2>&1 &&
    sed -n 's/^ *"commit": *"\([^"]*\)".*/\1/p' "$work/probe/manifest.json"
}

"$python" "$here/summarise.py" facts "$out" root="$root" snnfit="$("$snnfit" --version)" \
  built_from="$(built_from || echo unknown)" threads="$threads" rounds="$rounds" reps="$reps" \
  flags="$flags" gflops="$gflops" programs="${programs[*]}"
if [ "$rounds" -lt 5 ]; then
  say "$rounds rounds are fewer than 5: the figures are not to be quoted"
fi

run() { # program n k t d gain
  local program=$1
  local size=(--n "$2" --k "$3" --t "$4" --d "$5" --gain "$6" --n-in 200 --reps "$reps")
  case $program in
    snnfit) "$snnfit" bench --device cpu --noise given --threads "$threads" --format json "${size[@]}" "${extra[@]}" ;;
    snnfit-philox)
      "$snnfit" bench --device cpu --noise philox --threads "$threads" --format json "${size[@]}" "${extra[@]}" ;;
    jax) JAX_PLATFORMS=cpu "$python" "$baselines/jax_rsnn.py" "${size[@]}" ;;
    torch) "$python" "$baselines/torch_rsnn.py" "${size[@]}" --device cpu --threads "$threads" ;;
  esac
}

declare -A refused=()
n_programs=${#programs[@]}
for ((round = 1; round <= rounds; round++)); do
  for name in "${names[@]}"; do
    read -r -a size <<<"${sizes[$name]}"
    for ((i = 0; i < n_programs; i++)); do
      [ -z "${refused[$name]:-}" ] || break
      program=${programs[(i + round - 1) % n_programs]}
      status=0
      run "$program" "${size[@]}" >"$work/out" 2>"$work/err" || status=$?
      if [ "$status" -ne 0 ]; then
        say "$program failed in case $name, round $round (exit code $status). The end of what it said:"
        tail -n 15 "$work/err" >&2
        fail "what was measured until then is in $out"
      fi
      # Exit code 3: the case is refused.
      "$python" "$here/summarise.py" add "$out" case="$name" round="$round" program="$program" size="${size[*]}" \
        <"$work/out" >&2 || status=$?
      case $status in
        0) ;;
        3) refused[$name]=yes ;;
        *) fail "what was measured until then is in $out" ;;
      esac
    done
  done
done

status=0
"$python" "$here/summarise.py" table --no-facts "$out" || status=$?
say "raw results: $out"
exit "$status"
