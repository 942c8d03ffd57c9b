#!/usr/bin/env bash
# Cost of one training step against N, K, T, D and density, one at a time around N=500, K=100, T=250, D=2.
set -euo pipefail

usage() {
    cat <<'USAGE'
Usage: scripts/bench/curves.sh [--snnfit FILE] [--engine NAME] [--reps N]

CPU seconds of `snnfit bench` (noise drawn in the step) as Markdown tables.
  --snnfit FILE   program; default: the release build
  --engine NAME   native (default) or native-int16
  --reps N        repetitions of each point; the median is reported; default 5
USAGE
}

root=$(cd "$(dirname "$0")/../.." && pwd)
snnfit=${CARGO_TARGET_DIR:-$root/target}/release/snnfit
engine=native
reps=5
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --snnfit | --engine | --reps)
        [ $# -ge 2 ] || {
            echo "curves.sh: $1 needs a value" >&2
            exit 2
        }
        case $1 in
        --snnfit) snnfit=$2 ;;
        --engine) engine=$2 ;;
        --reps) reps=$2 ;;
        esac
        shift 2
        ;;
    *)
        echo "curves.sh: unknown argument $1" >&2
        usage >&2
        exit 2
        ;;
    esac
done
[ -x "$snnfit" ] || {
    echo "curves.sh: no program at $snnfit; build it with: cargo build --release --workspace" >&2
    exit 1
}

# One row: the value, density, CPU seconds forward and backward in proportion to their wall times, peak memory.
point() {
    local label=$1
    shift
    "$snnfit" bench --device cpu --engine "$engine" --reps "$reps" --gain 0.3 --format json "$@" |
        python3 -c '
import json, sys
r = json.load(sys.stdin)
forward = r["cpu_s"] * r["forward_s"] / r["total_s"]
print("| %s | %.2f %% | %.3f | %.3f | %.3f | %.0f |" % (
    sys.argv[1], 100 * r["spike_fraction"], forward, r["cpu_s"] - forward, r["cpu_s"], r["peak_rss_mib"]))' "$label"
}

curve() {
    local name=$1 option=$2
    shift 2
    printf '\n| %s | density | forward CPU s | backward CPU s | step CPU s | peak MiB |\n|---|---|---|---|---|---|\n' "$name"
    local value
    for value in "$@"; do
        local n=500 k=100 t=250 d=2 n_in=200
        printf -v "$option" '%s' "$value"
        point "$value" --n "$n" --k "$k" --t "$t" --d "$d" --n-in "$n_in"
    done
}

echo "engine $engine, $(nproc) cores, commit $(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)"
curve N n 125 250 500 1000 2000
curve K k 10 25 50 100 200 400
curve T t 60 125 250 500 1000
curve D d 1 2 4 8 16
curve inputs n_in 2 20 200 400
