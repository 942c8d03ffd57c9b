#!/usr/bin/env bash
# Students of a network whose couplings are known: with 0, 10, 200 and 400 hidden neurons, by maximum likelihood (mle) and with trial
# averages and noise covariances of freely simulated trials besides (sm), hidden rates held at those of visible neurons, for each
# seed; test metrics, couplings beside the true ones, and one table.
#
#   scripts/experiments/teacher_student.sh OUT [SEED ...]     # default: seeds 0 1 2
#
# Fits that are done are left alone, others go on where they stopped. What was evaluated is noted in RECORDS (default OUT/records;
# ours are in docs/results/teacher) and not evaluated again, so that test trials are opened once.
# SNNFIT: the program (default target/release/snnfit). HIDDEN: numbers of hidden neurons. METHODS: of mle, sm, and mle_norate and
# sm_norate, which leave hidden rates free.
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
read -ra methods <<<"${METHODS:-mle sm}"
mkdir -p "$out" "$records"

[ -f data/teacher.h5 ] || "$snnfit" synth teacher --out data/teacher.h5 --network data/teacher_network.h5 >/dev/null
for seed in "${seeds[@]}"; do
    for n in "${hidden[@]}"; do
        for method in "${methods[@]}"; do
            case $method in
            mle*) losses='{ likelihood = {} }' ;;
            # Table S3; its 0.7 of the coincidences is as much as 70 of squared covariances (50 for 0.5 in table S2).
            sm*) losses='{ likelihood = { weight = 0.2 } }, { psth_cross_entropy = { weight = 0.1 } }, { noise_covariance = { weight = 70.0, lags_ms = 320.0 } }' ;;
            esac
            case $n/$method in 0/* | */*_norate) ;; *) losses+=', { hidden_rate = { weight = 1e-3 } }' ;; esac
            run=$out/${method}_${n}_$seed
            fit "$run" --config configs/teacher_student.toml --seed "$seed" \
                --set "model.spike_history.n_hidden = $n" --set "loss = [$losses]"
            record=$records/$(basename "$run").json
            [ -f "$record" ] || ! is_done "$run" && continue
            "$snnfit" --format json evaluate "$run" >"$record.new"
            "$snnfit" --format json evaluate "$run" --truth data/teacher_network.h5 >"$record.couplings"
            python3 scripts/experiments/teacher_student_table.py note "$run" "$record.new" "$record.couplings" "$record"
            rm "$record.new" "$record.couplings"
        done
    done
done
python3 scripts/experiments/teacher_student_table.py table "$records"
