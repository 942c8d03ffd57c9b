#!/usr/bin/env python3
"""How well averages of freely simulated trials follow movies that were not fitted: the validation movies 48 and 49 of the retina, shown once.

usage: retina_new_movies.py SNNFIT RECORDING RUN ...     # RECORDING: data/retina_unrepeated.h5; needs h5py and numpy

Simulates 20 trials of each of the 50 movies and prints, for each run, Pearson's r of their average with the one recorded trial, both smoothed over
20 bins, from bin 300 on, both movies joined, mean over the six cells; and the ratio of rates.
"""

import pathlib
import subprocess
import sys
import tempfile

import h5py
import numpy as np

N_MOVIES, NEW, FIRST, SMOOTH = 50, (48, 49), 300, 20


def smoothed(x):
    sums = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(x, 0)])
    return (sums[SMOOTH:] - sums[:-SMOOTH]) / SMOOTH


def main(snnfit, recording, runs):
    with h5py.File(recording) as f:
        recorded = f["sessions/train_unrepeated/binned/spikes"][()]
    for run in runs:
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "simulated.h5"
            options = ["--session", "train_unrepeated", "--trials", str(20 * N_MOVIES), "--out", str(out)]
            subprocess.run([snnfit, "-q", "simulate", run, *options], check=True, stdout=subprocess.DEVNULL)
            with h5py.File(out) as f:
                (session,) = f["sessions"].values()
                simulated = session["binned/spikes"][()]
        model, data = [], []
        for movie in NEW:
            model.append(np.minimum(simulated[movie::N_MOVIES], 1).mean(0)[FIRST:])
            data.append(np.minimum(recorded[movie], 1)[FIRST:].astype(float))
        rates = sum(x.sum() for x in model) / sum(x.sum() for x in data)
        pairs = zip(np.concatenate([smoothed(x) for x in model]).T, np.concatenate([smoothed(x) for x in data]).T)
        r = np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs])
        print(f"{run}: r {r:.4f}, rate {rates:.3f}")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
