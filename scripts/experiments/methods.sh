#!/usr/bin/env bash
# Seven ways to compare single trials, on the artificial two-area recording: fits, evaluations, one table.
#
#   scripts/experiments/methods.sh OUT [SEED ...]     # default: seeds 0 1 2 3 4
#
# All fits have the network, recording, split and optimiser of configs/two_area_soft.toml and STEPS steps (default: that
# file's); they differ in the losses, and in the gradient splitter, which the published spike-GAN and likelihood fits do
# without. Fits that are done are left alone, others go on where they stopped; one that fails is told and passed over. Test
# trials are opened once for each run, when it is done; the table has the runs that are.
#
# SNNFIT: the program (default target/release/snnfit). SETS: more of `--set` for all fits, one a line. METHODS: some of
# the seven. SPLIT: test (default) or validation.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:?usage: scripts/experiments/methods.sh OUT [SEED ...]}
shift
seeds=("$@")
[ ${#seeds[@]} -gt 0 ] || seeds=(0 1 2 3 4)
snnfit=${SNNFIT:-${CARGO_TARGET_DIR:-target}/release/snnfit}
read -ra methods <<<"${METHODS:-none hard soft_published soft_wide energy gan likelihood}"
split=${SPLIT:-test}
mkdir -p "$out"
[ -f data/two_area.h5 ] || "$snnfit" synth two-area --out data/two_area.h5

# The losses of a method.
losses() {
    local psth='{ psth = { weight = 10.0 } }'
    case $1 in
    none) echo "loss = [$psth]" ;;
    hard) echo "loss = [$psth, { trial_matching = { weight = 100.0, method = \"hard\" } }]" ;;
    soft_published)
        echo "loss = [$psth, { trial_matching = { weight = 100.0, method = \"sinkhorn\", blur = 0.01 } }]"
        ;;
    soft_wide) echo "loss = [$psth, { trial_matching = { weight = 100.0, method = \"sinkhorn\", blur_relative = 0.3 } }]" ;;
    energy) echo "loss = [$psth, { trial_matching = { weight = 100.0, method = \"energy\" } }]" ;;
    gan) echo 'loss = [{ psth = { weight = 20.0 } }, { spike_gan = { weight = 20.0 } }]' ;;
    likelihood) echo 'loss = [{ trial_matched_likelihood = { weight = 10.0 } }]' ;;
    esac
}

# The settings that all fits of this directory have; other ones need another directory.
settings=$(printf 'STEPS=%s\n%s\n' "${STEPS:-}" "${SETS:-}")
if [ -f "$out/settings" ] && [ "$(cat "$out/settings")" != "$settings" ]; then
    echo "$out has fits with other STEPS or SETS (see $out/settings): name another directory" >&2
    exit 2
fi
echo "$settings" >"$out/settings"
more=()
while IFS= read -r line; do
    [ -z "$line" ] || more+=(--set "$line")
done <<<"${SETS:-}"
[ -z "${STEPS:-}" ] || more+=(--set "train.max_steps = $STEPS")

# How the run's last attempt ended, if it did.
ended() {
    python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))["attempts"][-1].get("stop_reason") or "")' "$1/manifest.json" 2>/dev/null || true
}

for seed in "${seeds[@]}"; do
    for method in "${methods[@]}"; do
        run=$out/${method}_$seed
        case $(ended "$run") in
        max_steps | converged | diverged | failed) continue ;;
        esac
        if [ -d "$run" ]; then
            "$snnfit" train --resume "$run" || echo "$run: exit $?" >&2
            continue
        fi
        splitter=true
        case $method in gan | likelihood) splitter=false ;; esac
        "$snnfit" train --config configs/two_area_soft.toml --seed "$seed" --out "$run" \
            --set "$(losses "$method")" --set "train.gradient_splitter = $splitter" "${more[@]}" ||
            echo "$run: exit $?" >&2
    done
done

suffix=
[ "$split" = test ] || suffix=-$split
for method in "${methods[@]}"; do
    runs=()
    is_new=false
    for seed in "${seeds[@]}"; do
        run=$out/${method}_$seed
        case $(ended "$run") in max_steps | converged) ;; *) continue ;; esac
        runs+=("$run")
        [ -f "$run/metrics$suffix.json" ] || is_new=true
    done
    if [ ${#runs[@]} -gt 0 ] && { $is_new || [ ! -f "$out/$method.json" ]; }; then
        "$snnfit" --format json evaluate "${runs[@]}" --split "$split" >"$out/$method.json.new"
        mv "$out/$method.json.new" "$out/$method.json"
    fi
done
python3 scripts/experiments/methods_table.py "$out" "$(IFS=,; echo "${seeds[*]}")" "${methods[@]}"
