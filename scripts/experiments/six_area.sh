#!/usr/bin/env bash
# What fits to the artificial six-area recording recover of its teacher: trial types, couplings, responses to a silenced area.
#
#   scripts/experiments/six_area.sh OUT [SEED ...]     # default: seeds 0 1 2
#
# Fits of configs/six_area_600.toml, one for each seed. Fits that are done are left alone, others go on where they stopped.
# Each run then has metrics.json (test trials), couplings.json, and perturbation-AREA.json for two silenced areas, and is noted in
# RECORDS/SEED.json, of which the tables are made; fits that are noted there are left alone.
#
# SNNFIT: the program (default target/release/snnfit). STEPS: other than the configuration's. SETS: more of `--set`, one a line.
# RECORDS: folder of the notes (default OUT/records; ours go to docs/results/six_area; those in six_area_soft are of the default matching,
# that in six_area_constant is of an offset that is constant in the trial).
set -euo pipefail
out=$(realpath -m "${1:?usage: scripts/experiments/six_area.sh OUT [SEED ...]}")
records=$(realpath -m "${RECORDS:-$out/records}")
cd "$(dirname "$0")/../.."
source scripts/experiments/common.sh
shift
seeds=("$@")
[ ${#seeds[@]} -gt 0 ] || seeds=(0 1 2)
snnfit=${SNNFIT:-${CARGO_TARGET_DIR:-target}/release/snnfit}
mkdir -p "$out" "$records" data
config=$(config_hash configs/six_area_600.toml)
settings=$(printf '%s' "STEPS=${STEPS:-} CONFIG=$config${SETS:+ SETS=$SETS}")
keep_settings "$out" "$settings"
keep_settings "$records" "$settings"
more_options
recording=data/six_area_600
size=(--neurons-per-area 100 --session-sizes 50,50,50,50,50,50,50,50,50,50,50,50)
# Area and window (ms after the whisker stimulus): the response to it, and the delay before the cue.
silenced=(wS1:0,200 wM2:200,1000)

if [ ! -f $recording.h5 ] || [ ! -f ${recording}_network.h5 ]; then
    rm -f $recording.h5 ${recording}_network.h5
    "$snnfit" synth six-area "${size[@]}" --out $recording.h5 --network ${recording}_network.h5
fi
for silence in "${silenced[@]}"; do
    file=${recording}_${silence%%:*}.h5
    [ -f "$file" ] || "$snnfit" synth six-area "${size[@]}" --silence "${silence%%:*}" --silence-ms "${silence#*:}" --out "$file"
done

# What a fit reached; each part is made once.
evaluate() { # run
    local run=$1 silence area
    # So many that the noise of the model's shares of trial types is little beside that of the recorded ones.
    [ -f "$run/metrics.json" ] || "$snnfit" evaluate "$run" --trials 1000 || return
    [ -f "$run/couplings.json" ] || "$snnfit" evaluate "$run" --truth ${recording}_network.h5 || return
    for silence in "${silenced[@]}"; do
        area=${silence%%:*}
        if [ ! -f "$run/perturbation-$area.json" ]; then
            "$snnfit" evaluate "$run" --silence "area:$area" --window-ms "${silence#*:}" \
                --against ${recording}_"$area".h5 --name "$area" || return
        fi
    done
}

for seed in "${seeds[@]}"; do
    run=$out/$seed
    [ ! -f "$records/$seed.json" ] || continue
    fit "$run" --config configs/six_area_600.toml --seed "$seed" "${more[@]}"
    is_done "$run" || continue
    if evaluate "$run"; then
        python3 scripts/experiments/record.py "$run" "$records/$seed.json"
    else
        echo "$run: not evaluated" >&2
    fi
done
python3 scripts/experiments/six_area_table.py "$records"
