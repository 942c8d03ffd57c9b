#!/usr/bin/env bash
# Stitching of real cells: each of the ten ways to part the six retina cells in two recordings of three, which share no sweep; one
# network of six cells by maximum likelihood, then sample-and-measure from there; noise correlations of the pairs that were never
# recorded together, in test sweeps that have all six. And a table.
#
#   scripts/experiments/stitching.sh OUT RETINA_BARS.h5 [SPLIT ...]     # default: splits 0 1 2 3 4 5 6 7 8 9
#
# Fits that are done are left alone, others go on where they stopped. What was evaluated is noted in RECORDS (default OUT/records;
# ours are in docs/results/stitching) and not evaluated again, so that test trials are opened once.
# SNNFIT: the program (default target/release/snnfit). PYTHON: with h5py and numpy (default python3; scripts/python.sh makes one).
set -euo pipefail
usage="usage: scripts/experiments/stitching.sh OUT RETINA_BARS.h5 [SPLIT ...]"
out=$(realpath -m "${1:?$usage}")
bars=$(realpath "${2:?$usage}")
records=$(realpath -m "${RECORDS:-$out/records}")
cd "$(dirname "$0")/../.."
source scripts/experiments/common.sh
shift 2
splits=("$@")
[ ${#splits[@]} -gt 0 ] || splits=(0 1 2 3 4 5 6 7 8 9)
snnfit=${SNNFIT:-${CARGO_TARGET_DIR:-target}/release/snnfit}
python=${PYTHON:-python3}
mkdir -p "$out" "$records"
settings="CONFIG=$(config_hash configs/retina_stitching.toml configs/retina_stitching_sm.toml)"
keep_settings "$out" "$settings"
keep_settings "$records" "$settings"

# Cells of the left recording; the first is always there, so that no split comes twice.
left_of=(0,1,2 0,1,3 0,1,4 0,1,5 0,2,3 0,2,4 0,2,5 0,3,4 0,3,5 0,4,5)

part() { # file, session, part of the file, more options
    local file=$1 session=$2 name=$3
    shift 3
    [ -f "$file" ] || "$snnfit" import "$bars" --spikes "/$name/spikes" --stimulus "/$name/stimulus" "$@" \
        --bin-ms 1.667 --area retina --session-id "$session" --out "$file" >/dev/null
}

part "$out/test.h5" test test
for split in "${splits[@]}"; do
    folder=$out/split_$split
    left=${left_of[$split]}
    mkdir -p "$folder"
    files=()
    for side in left right; do
        case $side in left) units="unit in [$left]" rest=0 ;; right) units="unit not in [$left]" rest=1 ;; esac
        for block in unrepeated:50 repeated:54; do
            trials=$(seq -s, "$rest" 2 $((${block#*:} - 1)))
            axes=()
            [ "${block%:*}" = repeated ] || axes=(--stimulus-axes trial,time,channel)
            file=$folder/${side}_${block%:*}.h5
            part "$file" "${side}_${block%:*}" "train_${block%:*}" --units "$units" --trials "trial in [$trials]" "${axes[@]}"
            files+=("\"$file\"")
        done
    done
    files+=("\"$out/test.h5\"")
    data="data.files = [$(IFS=,; echo "${files[*]}")]"
    fit "$folder/mle" --config configs/retina_stitching.toml --set "$data" --seed "$split"
    is_done "$folder/mle" || continue
    fit "$folder/sm" --config configs/retina_stitching_sm.toml --set "$data" --seed "$split" --init "$folder/mle"
    for run in mle sm; do
        record=$records/${run}_$split.json
        [ -f "$record" ] || ! is_done "$folder/$run" && continue
        "$snnfit" --format json evaluate "$folder/$run" >"$record.new"
        "$python" scripts/experiments/stitching_table.py note "$folder/$run" "$record.new" "$record" "$left" "$bars"
        rm "$record.new"
    done
done
"$python" scripts/experiments/stitching_table.py table "$records"
