#!/usr/bin/env bash
# What fits to the artificial six-area recording recover of its teacher: trial types, couplings, responses to a silenced area.
#
#   scripts/experiments/six_area.sh OUT [SEED ...]     # default: seeds 0 1 2
#
# Fits of configs/six_area_600.toml, one for each seed. Fits that are done are left alone, others go on where they stopped.
# Each run then has metrics.json (test trials), couplings.json, and perturbation-AREA.json for two silenced areas; at last one
# table.
#
# SNNFIT: the program (default target/release/snnfit). STEPS: other than the configuration's.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:?usage: scripts/experiments/six_area.sh OUT [SEED ...]}
shift
seeds=("$@")
[ ${#seeds[@]} -gt 0 ] || seeds=(0 1 2)
snnfit=${SNNFIT:-${CARGO_TARGET_DIR:-target}/release/snnfit}
mkdir -p "$out" data
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

ended() {
    python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))["attempts"][-1].get("stop_reason") or "")' "$1/manifest.json" 2>/dev/null || true
}

for seed in "${seeds[@]}"; do
    run=$out/$seed
    case $(ended "$run") in
    max_steps | converged | diverged | failed) ;;
    *)
        if [ -d "$run" ]; then
            "$snnfit" train --resume "$run" || echo "$run: exit $?" >&2
        else
            "$snnfit" train --config configs/six_area_600.toml --seed "$seed" --out "$run" \
                ${STEPS:+--set "train.max_steps = $STEPS"} || echo "$run: exit $?" >&2
        fi
        ;;
    esac
done

for seed in "${seeds[@]}"; do
    run=$out/$seed
    case $(ended "$run") in max_steps | converged) ;; *) continue ;; esac
    [ -f "$run/metrics.json" ] || "$snnfit" evaluate "$run"
    [ -f "$run/couplings.json" ] || "$snnfit" evaluate "$run" --truth ${recording}_network.h5
    for silence in "${silenced[@]}"; do
        area=${silence%%:*}
        if [ ! -f "$run/perturbation-$area.json" ]; then
            "$snnfit" evaluate "$run" --silence "area:$area" --window-ms "${silence#*:}" --against ${recording}_"$area".h5
            mv "$run/perturbation.json" "$run/perturbation-$area.json"
        fi
    done
done
python3 scripts/experiments/six_area_table.py "$out" "${seeds[@]}"
