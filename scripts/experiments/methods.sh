#!/usr/bin/env bash
# Seven ways to compare single trials, on the artificial two-area recording: fits, evaluations, one table.
#
#   scripts/experiments/methods.sh OUT [SEED ...]     # default: seeds 0 1 2 3 4
#
# All fits have the network, recording, split and optimiser of configs/two_area_hard.toml and STEPS steps (default 3000);
# they differ in the losses alone, but for the two published settings without gradient splitter. A run that is there goes
# on; one that is done is left alone. Test trials are opened once for each run, at the end.
# SNNFIT: the program (default target/release/snnfit). SETS: more of `--set`, for all fits, one a line.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:?usage: scripts/experiments/methods.sh OUT [SEED ...]}
shift
seeds=("$@")
[ ${#seeds[@]} -gt 0 ] || seeds=(0 1 2 3 4)
snnfit=${SNNFIT:-${CARGO_TARGET_DIR:-target}/release/snnfit}
steps=${STEPS:-3000}
methods=(none hard soft_published soft_wide energy gan likelihood)
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
    soft_wide)
        echo "loss = [$psth, { trial_matching = { weight = 100.0, method = \"sinkhorn\", blur_relative = 1.0 } }]"
        ;;
    energy) echo "loss = [$psth, { trial_matching = { weight = 100.0, method = \"energy\" } }]" ;;
    gan) echo 'loss = [{ psth = { weight = 20.0 } }, { spike_gan = { weight = 20.0 } }]' ;;
    likelihood) echo "loss = [$psth, { trial_matched_likelihood = { weight = 10.0 } }]" ;;
    esac
}

more=()
while IFS= read -r line; do
    [ -z "$line" ] || more+=(--set "$line")
done <<<"${SETS:-}"

for seed in "${seeds[@]}"; do
    for method in "${methods[@]}"; do
        run=$out/${method}_$seed
        if [ -d "$run/checkpoints" ]; then
            "$snnfit" train --resume "$run"
            continue
        fi
        # The published spike-GAN and likelihood fits have no splitter (section 1.21 of the specification).
        splitter=true
        case $method in gan | likelihood) splitter=false ;; esac
        "$snnfit" train --config configs/two_area_hard.toml --seed "$seed" --out "$run" \
            --set "$(losses "$method")" --set "train.max_steps = $steps" \
            --set "train.gradient_splitter = $splitter" "${more[@]}"
    done
done

for method in "${methods[@]}"; do
    runs=()
    for seed in "${seeds[@]}"; do runs+=("$out/${method}_$seed"); done
    "$snnfit" --format json evaluate "${runs[@]}" >"$out/$method.json"
done
python3 scripts/experiments/methods_table.py "$out" "${methods[@]}"
