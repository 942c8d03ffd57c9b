#!/usr/bin/env bash
# Students of a network whose couplings are known: with 0, 10, 200 and 400 hidden neurons, by maximum likelihood (mle) and from there with
# trial averages and noise covariances of freely simulated trials besides (sm), hidden rates held at those of visible neurons, for each
# seed; test metrics, couplings beside the true ones, and one table.
#
#   scripts/experiments/teacher_student.sh OUT [SEED ...]     # default: seeds 0 1 2
#
# Fits that are done are left alone, others go on where they stopped. What was evaluated is noted in RECORDS (default OUT/records;
# ours are in docs/results/teacher) and not evaluated again, so that test trials are opened once.
# SNNFIT: the program (default target/release/snnfit). HIDDEN: numbers of hidden neurons. COVARIANCE: weight of the noise covariances (default 500);
# SETS, STEPS: more options of the fits with them, a --set in each line, and their steps.
set -euo pipefail
out=$(realpath -m "${1:?usage: scripts/experiments/teacher_student.sh OUT [SEED ...]}")
records=$(realpath -m "${RECORDS:-$out/records}")
cd "$(dirname "$0")/../.."
source scripts/experiments/common.sh
shift
seeds=("$@")
[ ${#seeds[@]} -gt 0 ] || seeds=(0 1 2)
snnfit=${SNNFIT:-${CARGO_TARGET_DIR:-target}/release/snnfit}
read -ra hidden <<<"${HIDDEN:-0 10 200 400}"
mkdir -p "$out" "$records"
covariance=${COVARIANCE:-500}
more_options
settings="CONFIG=$(config_hash configs/teacher_student.toml configs/teacher_student_sm.toml)"
[ "$covariance ${more[*]}" = "500 " ] || settings+=$'\n'"COVARIANCE=$covariance ${more[*]}"
keep_settings "$out" "$settings"
keep_settings "$records" "$settings"

[ -f data/teacher.h5 ] || "$snnfit" synth teacher --trials 840 --out data/teacher.h5 --network data/teacher_network.h5 >/dev/null
student() { # name, losses without that of hidden rates, more options of train
    local run=$out/$1 record=$records/$1.json losses=$2
    shift 2
    [ "$n" = 0 ] || losses+=', { hidden_rate = { weight = 1e-3 } }'
    fit "$run" --seed "$seed" --set "model.spike_history.n_hidden = $n" --set "loss = [$losses]" "$@"
    [ -f "$record" ] || ! is_done "$run" && return
    # Many simulated trials: 200 take 0.02 to 0.04 from the R² of noise correlations in bins of 40 ms.
    "$snnfit" --format json evaluate "$run" --trials 1000 >"$record.new"
    "$snnfit" --format json evaluate "$run" --truth data/teacher_network.h5 >"$record.couplings"
    python3 scripts/experiments/teacher_student_table.py note "$run" "$record.new" "$record.couplings" "$record"
    rm "$record.new" "$record.couplings"
}
for seed in "${seeds[@]}"; do
    for n in "${hidden[@]}"; do
        student "mle_${n}_$seed" '{ likelihood = {} }' --config configs/teacher_student.toml
        is_done "$out/mle_${n}_$seed" || continue
        measured='{ likelihood = { weight = 0.2 } }, { psth_cross_entropy = { weight = 0.1 } }'
        measured+=', { noise_covariance = { weight = '"$covariance"', window_ms = 40.0 } }'
        student "sm_${n}_$seed" "$measured" --config configs/teacher_student_sm.toml --init "$out/mle_${n}_$seed" "${more[@]}"
    done
done
python3 scripts/experiments/teacher_student_table.py table "$records"
