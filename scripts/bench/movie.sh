#!/usr/bin/env bash
# Cost of a step of the published network for movies (configs/movie_cnn.toml): 120 trials of 69 neurons under a movie of 27 × 27 pixels,
# made of `synth teacher` with the 16 channels of its movie as spots of light.
#
#   scripts/bench/movie.sh [OUT]      # default: a folder that is removed at the end
#
# SNNFIT: the program (default target/release/snnfit). PYTHON: with h5py and numpy (default python3; scripts/python.sh makes one).
# STEPS: how many steps (default 10). Says seconds of the processor and of the clock a step, without reading and validation, and the peak of memory.
set -euo pipefail
out=${1:-}
if [ -z "$out" ]; then
    out=$(mktemp -d)
    trap 'rm -r "$out"' EXIT
fi
mkdir -p "$out/data" "$out/configs"
out=$(realpath "$out")
cd "$(dirname "$0")/../.."
snnfit=$(realpath "${SNNFIT:-${CARGO_TARGET_DIR:-target}/release/snnfit}")
steps=${STEPS:-10}
cp configs/movie_cnn.toml "$out/configs"
cd "$out"
[ -f teacher.h5 ] || "$snnfit" -q synth teacher --trials 120 --out teacher.h5 >/dev/null
[ -f movie_arrays.h5 ] || "${PYTHON:-python3}" - <<'PY'
import h5py
import numpy as np

with h5py.File("teacher.h5") as f:
    session = f["sessions/teacher"]
    spikes = session["binned/spikes"][()]
    channels = session["stimulus/movies"][0].astype(float)
row, column = np.mgrid[0:27, 0:27]
centres = 3.4 + 6.7 * np.arange(4)
spots = [np.exp(-((column - centres[c % 4]) ** 2 + (row - centres[c // 4]) ** 2) / 12.5).ravel() for c in range(16)]
movie = channels @ np.stack(spots)
movie = (movie - movie.min()) / (movie.max() - movie.min())
with h5py.File("movie_arrays.h5", "w") as f:
    f["spikes"] = spikes.astype("u1")
    f["stimulus"] = movie.astype("f4")
PY
[ -f data/movie.h5 ] || "$snnfit" -q import movie_arrays.h5 --spikes /spikes --stimulus /stimulus --bin-ms 40 --area V1 \
    --session-id movie --out data/movie.h5 >/dev/null
# Steps are the difference of two runs: reading and the one validation are in both.
python3 - "$snnfit" "$steps" <<'PY'
import os
import shutil
import sys
import time

snnfit, steps = sys.argv[1], int(sys.argv[2])


def cost(n):
    shutil.rmtree("runs", ignore_errors=True)
    options = ["--set", f"train.max_steps = {n}", "--set", "train.validate_every = 100000", "--threads", "1"]
    start = time.monotonic()
    with open("log", "w") as log:
        arguments = [snnfit, "-q", "train", "--config", "configs/movie_cnn.toml", "--out", "runs/a", *options]
        redirect = [(os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)]
        _, status, used = os.wait4(os.posix_spawn(snnfit, arguments, os.environ, file_actions=redirect), 0)
    if status:
        sys.exit(open("log").read())
    return time.monotonic() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


few, many = cost(1), cost(steps + 1)
wall, cpu = ((many[i] - few[i]) / steps for i in (0, 1))
print(f"{wall:.2f} s of the clock, {cpu:.2f} s of the processor a step; peak {many[2]:.0f} MiB")
PY
