#!/usr/bin/env bash
# Spike-history networks on the retina: maximum likelihood, then sample-and-measure from there, for each seed, and the
# generalised linear model as a negative control; test metrics and one table.
#
#   scripts/experiments/retina.sh OUT RETINA_BARS.h5 [SEED ...]     # default: seeds 0 1 2 3 4
#
# Fits that are done are left alone, others go on where they stopped. What was evaluated is noted in RECORDS (default OUT/records;
# ours are in docs/results/retina) and not evaluated again, so that test trials are opened once.
# SNNFIT: the program (default target/release/snnfit).
set -euo pipefail
out=$(realpath -m "${1:?usage: scripts/experiments/retina.sh OUT RETINA_BARS.h5 [SEED ...]}")
bars=$(realpath "${2:?usage: scripts/experiments/retina.sh OUT RETINA_BARS.h5 [SEED ...]}")
records=$(realpath -m "${RECORDS:-$out/records}")
cd "$(dirname "$0")/../.."
source scripts/experiments/common.sh
shift 2
seeds=("$@")
[ ${#seeds[@]} -gt 0 ] || seeds=(0 1 2 3 4)
snnfit=${SNNFIT:-${CARGO_TARGET_DIR:-target}/release/snnfit}
mkdir -p "$out" "$records"
settings="CONFIG=$(config_hash configs/retina_glm.toml configs/retina_mle.toml configs/retina_sample_and_measure.toml)"
keep_settings "$out" "$settings"
keep_settings "$records" "$settings"

# The three parts of the file, as data/README.md has them.
part() { # name of the part, file, more options
    local name=$1 file=data/$2
    shift 2
    [ -f "$file" ] || "$snnfit" import "$bars" --spikes "/$name/spikes" --stimulus "/$name/stimulus" "$@" \
        --bin-ms 1.667 --area retina --session-id "$name" --out "$file" >/dev/null
}
part train_unrepeated retina_unrepeated.h5 --stimulus-axes trial,time,channel
part train_repeated retina_repeated.h5
part test retina_test.h5

fit "$out/glm_0" --config configs/retina_glm.toml --seed 0
for seed in "${seeds[@]}"; do
    fit "$out/mle_$seed" --config configs/retina_mle.toml --seed "$seed"
    is_done "$out/mle_$seed" || continue
    fit "$out/sm_$seed" --config configs/retina_sample_and_measure.toml --seed "$seed" --init "$out/mle_$seed"
done
for run in glm_0 $(printf 'mle_%s sm_%s ' $(for seed in "${seeds[@]}"; do echo "$seed" "$seed"; done)); do
    record=$records/$run.json
    [ -f "$record" ] || ! is_done "$out/$run" && continue
    compared=()
    case $run in sm_*) compared=(--compared-to "$out/mle_${run#sm_}") ;; esac
    "$snnfit" --format json evaluate "$out/$run" "${compared[@]}" >"$record.new"
    python3 scripts/experiments/retina_table.py note "$out/$run" "$record.new" "$record"
    rm "$record.new"
done
python3 scripts/experiments/retina_table.py table "$records"
