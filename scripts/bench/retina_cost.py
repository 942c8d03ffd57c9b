#!/usr/bin/env python3
"""Processor time of five epochs of maximum likelihood on the retina (5 644 800 bins), for three encoders.

usage: scripts/bench/retina_cost.py [PROGRAM ...]      # default: target/release/snnfit

Needs the recordings of scripts/experiments/retina.sh in data/. A step is the difference of runs of 90 and of 10 steps, without
validation, on one thread; five epochs are as many steps, and the run of 10 (reading, features) once. Programs alternate; ROUNDS
(default 3) differences each, of which the median counts.
"""

import os
import pathlib
import statistics
import sys
import tempfile

ENCODER = "model.spike_history.encoder.stimulus"
CASES = {
    "dense 32 of 12 functions, 64 windows": (
        [f"{ENCODER}.layers = [{{ dense = {{ units = 32 }} }}]", f"{ENCODER}.kernels.raised_cosine.n = 12", "model.spike_history.windows.clamped = 64"],
        1764,
    ),
    "conv 16 and 8, dense 32, of 12 functions, 64 windows": (
        [
            f"{ENCODER}.layers = [{{ conv = {{ filters = 16, kernel = 1 }} }}, {{ conv = {{ filters = 8, kernel = 7 }} }}, {{ dense = {{ units = 32 }} }}]",
            f"{ENCODER}.kernels.raised_cosine.n = 12",
            "model.spike_history.windows.clamped = 64",
        ],
        1764,
    ),
    "configs/retina_mle.toml": ([], 588),
}


def seconds(program, sets, steps):
    """Processor seconds of a run, and its largest memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "-q", "train", "--config", "configs/retina_mle.toml", "--out", f"{folder}/run", "--threads", "1"]
        for one in [f"train.max_steps = {steps}", "train.validate_every = 100000", *sets]:
            command += ["--set", one]
        with open(f"{folder}/log", "w") as log:
            actions = [(os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)]
            _, status, usage = os.wait4(os.posix_spawn(program, command, os.environ, file_actions=actions), 0)
        if status != 0:
            sys.exit(pathlib.Path(f"{folder}/log").read_text())
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    os.chdir(pathlib.Path(__file__).resolve().parents[2])
    programs = [os.path.abspath(p) for p in sys.argv[1:] or ["target/release/snnfit"]]
    rounds = int(os.environ.get("ROUNDS", "3"))
    for name, (sets, steps) in CASES.items():
        found = {program: [] for program in programs}
        for _ in range(rounds):
            for program, of in found.items():
                (first, _), (last, peak) = seconds(program, sets, 10), seconds(program, sets, 90)
                of.append(((last - first) / 80 * (steps - 10) + first, peak))
        for program, of in found.items():
            each = ", ".join(f"{total:.1f}" for total, _ in of)
            print(f"{name}: {program}: {statistics.median(t for t, _ in of):.1f} CPU-seconds ({each}), peak {of[-1][1]:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
