#!/usr/bin/env bash
# Eight ways to compare single trials, on the artificial two-area recording: fits, evaluations, one table.
#
#   scripts/experiments/methods.sh OUT [SEED ...]     # default: seeds 0 1 2 3 4
#
# All fits have the network, recording, split and optimiser of configs/two_area_soft.toml and STEPS steps (default: that
# file's); they differ in the losses, and in the gradient splitter, which the published spike-GAN and likelihood fits do
# without; all neurons count alike, however few spikes they have, as in the first of these fits. A fit that is done is
# evaluated on the test trials, once, and noted in RECORDS/METHOD_SEED.json, of which the table is made; fits that are noted
# there are left alone, others go on where they stopped; one that fails is told and passed over.
#
# TIME=1: instead, 21 steps of each method; the median time of the last 20 goes to RECORDS/seconds.json. Nothing else should run.
#
# SNNFIT: the program (default target/release/snnfit). SETS: more of `--set` for all fits, one a line. METHODS: some of
# the eight. RECORDS: folder of the notes (default OUT/records; ours are in docs/results/two_area_methods).
set -euo pipefail
out=$(realpath -m "${1:?usage: scripts/experiments/methods.sh OUT [SEED ...]}")
records=$(realpath -m "${RECORDS:-$out/records}")
cd "$(dirname "$0")/../.."
source scripts/experiments/common.sh
shift
seeds=("$@")
[ ${#seeds[@]} -gt 0 ] || seeds=(0 1 2 3 4)
snnfit=${SNNFIT:-${CARGO_TARGET_DIR:-target}/release/snnfit}
read -ra methods <<<"${METHODS:-none hard soft_published soft_wide counts energy gan likelihood}"
mkdir -p "$out" "$records"
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
    counts)
        echo "loss = [$psth, { trial_matching = { weight = 100.0, method = \"sinkhorn\", blur_relative = 0.3 } }, { count_variance = {} }]"
        ;;
    energy) echo "loss = [$psth, { trial_matching = { weight = 100.0, method = \"energy\" } }]" ;;
    gan) echo 'loss = [{ psth = { weight = 20.0 } }, { spike_gan = { weight = 20.0 } }]' ;;
    likelihood) echo 'loss = [{ trial_matched_likelihood = { weight = 10.0 } }]' ;;
    esac
}

settings=$(printf 'STEPS=%s\n%s\n' "${STEPS:-}" "${SETS:-}")
keep_settings "$out" "$settings"
keep_settings "$records" "$settings"
more_options

splitter() { # method
    case $1 in gan | likelihood) echo false ;; *) echo true ;; esac
}

if [ -n "${TIME:-}" ]; then
    timed=$(mktemp -d)
    trap 'rm -r "$timed"' EXIT
    for method in "${methods[@]}"; do
        "$snnfit" -q train --config configs/two_area_soft.toml --out "$timed/$method" --set "$(losses "$method")" \
            --set "train.gradient_splitter = $(splitter "$method")" --set "statistics.min_spikes = 0" "${more[@]}" \
            --set "train.max_steps = 21" --set "train.log_every = 1" --set "train.validate_every = 1000" >/dev/null
    done
    python3 - "$timed" "$records/seconds.json" <<'EOF'
import json, pathlib, statistics, sys

file = pathlib.Path(sys.argv[2])
found = json.loads(file.read_text()) if file.exists() else {}
for run in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    events = map(json.loads, (run / "events.ndjson").read_text().splitlines())
    ends = [event["wall_s"] for event in events if event["event"] == "step"]
    manifest = json.loads((run / "manifest.json").read_text())
    found[run.name] = {
        "s_a_step": round(statistics.median(b - a for a, b in zip(ends, ends[1:])), 3),
        **{key: manifest[key] for key in ("commit", "device", "threads")},
    }
file.write_text(json.dumps(found, indent=1) + "\n")
EOF
    cat "$records/seconds.json"
    exit
fi

for seed in "${seeds[@]}"; do
    for method in "${methods[@]}"; do
        run=$out/${method}_$seed
        record=$records/${method}_$seed.json
        [ ! -f "$record" ] || continue
        fit "$run" --config configs/two_area_soft.toml --seed "$seed" --set "$(losses "$method")" \
            --set "train.gradient_splitter = $(splitter "$method")" --set "statistics.min_spikes = 0" "${more[@]}"
        is_done "$run" || continue
        if [ -f "$run/metrics.json" ] || "$snnfit" evaluate "$run"; then
            python3 scripts/experiments/record.py "$run" "$record"
        fi
    done
done
python3 scripts/experiments/methods_table.py "$records" "${methods[@]}"
