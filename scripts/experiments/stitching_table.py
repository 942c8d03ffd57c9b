#!/usr/bin/env python3
"""What stitching.sh evaluated: one small file for each split and method, and the table of docs/RESULTS.md.

usage: stitching_table.py note RUN EVALUATION RECORD LEFT RETINA_BARS.h5      # needs h5py and numpy
       stitching_table.py table RECORDS

Pairs across the two recordings, 9 in each of 10 splits, with the noise correlations of the test sweeps, where all six cells are
together. A pair is across in 6 splits, so intervals resample the 15 pairs, each with all its splits. Baselines know what the fit
knows: the sweeps that each recording has.

signal    a line through noise correlation over signal correlation of the 6 pairs within, at the signal correlation across
within    the mean noise correlation of the 6 pairs within
zero      0
together  not a baseline, what could be known: the noise correlation of the same pair in all 54 training sweeps
"""

import json
import pathlib
import random
import statistics
import sys

from record import rounded

WINDOWS = {"20ms": 12, "33.3ms": 20, "41.7ms": 25}
METHODS = {
    "mle": "maximum likelihood",
    "sm": "sample-and-measure",
    "signal": "baseline: signal correlations",
    "within": "baseline: mean within recordings",
    "zero": "baseline: zero",
    "together": "recorded together (training sweeps)",
}
# Sweeps of the training part: 46 to 53 are for validation.
TRAINED = 46


def correlations(spikes, window):
    """Noise and signal correlations of counts [trial, window, neuron], as the program computes noise correlations."""
    import numpy as np

    k, bins, n = spikes.shape
    counts = spikes[:, : bins // window * window].reshape(k, bins // window, window, n).sum(2).astype(float)
    mean = counts.mean(0)
    noise = (counts - mean).reshape(-1, n)
    total = ((counts - counts.mean((0, 1))) ** 2).mean((0, 1))
    nc = noise.T @ noise / ((k - 1) * counts.shape[1]) / np.sqrt(np.outer(total, total))
    return nc, mean


def baselines(bars, left):
    """By window and pair: what signal correlations, the pairs within and all sweeps together say."""
    import h5py
    import numpy as np

    with h5py.File(bars) as file:
        spikes = np.minimum(file["train_repeated/spikes"][:TRAINED], 1)
    n = spikes.shape[2]
    groups = [left, [c for c in range(n) if c not in left]]
    out = {}
    for name, window in WINDOWS.items():
        together, _ = correlations(spikes, window)
        nc, psth = np.full((n, n), np.nan), np.zeros((spikes.shape[1] // window, n))
        for i, group in enumerate(groups):
            own, mean = correlations(spikes[i::2][:, :, group], window)
            nc[np.ix_(group, group)] = own
            psth[:, group] = mean
        signal = np.corrcoef(psth.T)
        within = [(a, b) for group in groups for a in group for b in group if a < b]
        x, y = (np.array([m[p] for p in within]) for m in (signal, nc))
        slope, offset = np.polyfit(x, y, 1)
        out[name] = {
            f"{a},{b}": {
                "signal": float(slope * signal[a, b] + offset),
                "within": float(y.mean()),
                "zero": 0.0,
                "together": float(together[a, b]),
            }
            for a in range(n)
            for b in range(a + 1, n)
        }
    return out


def note(run, evaluation, record, left, bars):
    run, report = pathlib.Path(run), json.loads(pathlib.Path(evaluation).read_text())
    manifest = json.loads((run / "manifest.json").read_text())
    left = [int(cell) for cell in left.split(",")]
    known = baselines(bars, left)
    pairs = []
    for pair in report["pairs"]:
        window = f"{round(pair['window_ms'], 1):g}ms"
        a, b = sorted(int(cell) for cell in pair["neurons"])
        pairs.append(
            {
                "cells": [a, b],
                "window": window,
                "across": (a in left) != (b in left),
                "data": pair["data"],
                "model": pair["model"],
                "baselines": known[window][f"{a},{b}"],
            }
        )
    out = {
        "fit": {
            "version": manifest["version"],
            "commit": manifest["commit"],
            "seed": manifest["seed"],
            "test_openings": manifest["test_openings"],
        },
        "left": left,
        "metrics": {m["name"]: m["value"] for m in report["metrics"]},
        "pairs": pairs,
    }
    pathlib.Path(record).write_text(json.dumps(rounded(out), indent=1) + "\n")


def scores(pairs):
    """Strict and offset-free R², and Pearson's r, of (data, model)."""
    if len(pairs) < 2:
        return [None] * 3
    data, error = [d for d, _ in pairs], [d - m for d, m in pairs]
    total = statistics.pvariance(data) * len(data)
    if total == 0:
        return [None] * 3
    model = [m for _, m in pairs]
    # A prediction that is the same for all pairs but for rounding has no correlation.
    varies = statistics.pstdev(model) > 1e-9
    return [
        1 - sum(e * e for e in error) / total,
        1 - statistics.pvariance(error) * len(error) / total,
        statistics.correlation(data, model) if varies else None,
    ]


def interval(by_pair, which):
    draw = random.Random(0)
    keys, values = sorted(by_pair), []
    for _ in range(2000):
        drawn = [of for key in (draw.choice(keys) for _ in keys) for of in by_pair[key]]
        value = scores(drawn)[which]
        if value is not None:
            values.append(value)
    values.sort()
    if len(values) < 1000:
        return ""
    return f" [{values[int(0.025 * len(values))]:.2f}, {values[int(0.975 * len(values)) - 1]:.2f}]"


def table(folder):
    records = {}
    for path in sorted(pathlib.Path(folder).glob("*_*.json")):
        records.setdefault(path.stem.split("_")[0], []).append(json.loads(path.read_text()))
    if not records:
        sys.exit(f"{folder}: no records")
    # Baselines are the same for both methods: those of the one with more splits.
    most = max(records.values(), key=len)
    print(f"{len(most)} splits; pairs across the recordings unless said otherwise")
    print("| prediction | window | splits | R² | R² offset-free | r | mean |")
    print("|---|---|---|---|---|---|---|")
    for window in WINDOWS:
        for method, name in METHODS.items():
            of = records.get(method, most if method not in ("mle", "sm") else [])
            for across in (True, False) if method in ("mle", "sm") else (True,):
                by_pair = {}
                for record in of:
                    for pair in record["pairs"]:
                        if pair["window"] == window and pair["across"] == across:
                            value = pair["model"] if method in ("mle", "sm") else pair["baselines"][method]
                            by_pair.setdefault(tuple(pair["cells"]), []).append((pair["data"], value))
                pairs = [p for of_pair in by_pair.values() for p in of_pair]
                if not pairs:
                    continue
                found = scores(pairs)
                cells = ["–" if x is None else f"{x:.2f}{interval(by_pair, i)}" for i, x in enumerate(found)]
                mean = f"{statistics.mean(m for _, m in pairs):.3f} (data {statistics.mean(d for d, _ in pairs):.3f})"
                label = name if across else f"{name}, pairs within"
                print("| " + " | ".join([label, window, str(len(of)), *cells, mean]) + " |")


if __name__ == "__main__":
    if len(sys.argv) == 7 and sys.argv[1] == "note":
        note(*sys.argv[2:])
    elif len(sys.argv) == 3 and sys.argv[1] == "table":
        table(sys.argv[2])
    else:
        sys.exit(__doc__)
