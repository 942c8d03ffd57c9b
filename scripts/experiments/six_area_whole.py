#!/usr/bin/env python3
"""Shares of trial types by templates over the neurons of all areas: of the teacher's own trials, seen whole, and of fitted networks'.

usage: six_area_whole.py RECORDING WHOLE SIMULATED ...

RECORDING  of `snnfit synth six-area`; the templates are averages of all its trials, put together from its sessions
WHOLE      the same with --whole
SIMULATED  of `snnfit simulate` (its jaw is in the units of the fit: less the baseline, over the mean deviation across trials)

Window, bins and filters are those of configs/six_area_600.toml; templates as in specification 1.18 with the jaw scaled on both sides.
A second implementation beside `snnfit evaluate`, which sees no recording with all neurons. Needs h5py and numpy.
"""

import sys

import h5py
import numpy as np

AREAS = ["wS1", "wS2", "wM1", "wM2", "ALM", "tjM1"]
TYPES = ["CR", "FA", "Hit", "Miss"]
DT, START, STEPS, TRIAL = 0.002, -0.2, 700, 2.0


def moving_mean(x, window, stride, padding):
    """Over the last axis; what lies outside of it isn't counted."""
    sums = np.concatenate([np.zeros_like(x[..., :1]), np.cumsum(x, -1)], -1)
    n = x.shape[-1]
    ends = [(max(i, 0), min(i + window, n)) for i in range(-padding, n + padding - window + 1, stride)]
    return np.stack([(sums[..., b] - sums[..., a]) / (b - a) for a, b in ends], -1)


def features(x):
    return moving_mean(moving_mean(x, 6, 3, 2), 8, 4, 3)


def session(group):
    """Trial types, mean activity and number of units of each area, jaw."""
    aligned = group["trials/align_time"][:]
    labels = np.array([label.decode() for label in group["trials/trial_type"][:]])
    area = np.array([name.decode() for name in group["units/area"][:]])
    ends, times = group["units/spike_times_index"][:], group["units/spike_times"][:]
    unit = np.repeat(np.arange(len(ends)), np.diff(np.concatenate([[0], ends])))
    trial = np.clip((times / TRIAL).astype(int), 0, len(aligned) - 1)
    step = np.floor((times - aligned[trial] - START) / DT).astype(int)
    is_inside = (step >= 0) & (step < STEPS)
    activity = {}
    for name in AREAS:
        units = np.flatnonzero(area == name)
        if len(units):
            own = is_inside & np.isin(unit, units)
            counts = np.zeros((len(aligned), STEPS))
            np.add.at(counts, (trial[own], step[own]), 1.0 / len(units))
            activity[name] = features(counts), len(units)
    samples, first = group["behaviour/jaw/data"][:], np.rint((aligned + START) / DT).astype(int)
    jaw = np.array([samples[i : i + STEPS] for i in first], dtype=float)
    n_baseline = round(-START / DT)
    jaw = (jaw - jaw[:, :n_baseline].mean()) / np.sqrt(jaw.var(0).mean())
    return labels, activity, features(jaw - jaw[:, :n_baseline].mean(1, keepdims=True))


class Templates:
    def __init__(self, sessions):
        blocks = {}
        for name in AREAS:
            of_area = [(labels, *activity[name]) for labels, activity, _ in sessions if name in activity]
            total = sum(n for _, _, n in of_area)
            blocks[name] = np.stack([sum(x[labels == y].mean(0) * n for labels, x, n in of_area) / total for y in TYPES])
        blocks["jaw"] = np.stack([np.mean([jaw[labels == y].mean(0) for labels, _, jaw in sessions], 0) for y in TYPES])
        self.scale = {name: (block.mean(), block.std()) for name, block in blocks.items()}
        self.rows = self.scaled(blocks)

    def scaled(self, blocks):
        return np.concatenate([(blocks[name] - mean) / std for name, (mean, std) in self.scale.items()], 1)

    def types(self, activity, jaw):
        rows = self.scaled({**activity, "jaw": jaw})
        return np.array(TYPES)[((rows[:, None] - self.rows) ** 2).mean(2).argmin(1)]


def share(types, name):
    p, n = np.mean(types == name), len(types)
    return f"{p:.3f} ± {1.96 * (p * (1 - p) / n) ** 0.5:.3f}"


def main():
    recording, whole, *simulated = sys.argv[1:]
    with h5py.File(recording) as file:
        templates = Templates([session(group) for group in file["sessions"].values()])
    labels, types = [], []
    with h5py.File(whole) as file:
        for group in file["sessions"].values():
            of_session, activity, jaw = session(group)
            labels.append(of_session)
            types.append(templates.types({name: x for name, (x, _) in activity.items()}, jaw))
    labels, types = np.concatenate(labels), np.concatenate(types)
    columns = {"labels": labels, "teacher": types}
    for path in simulated:
        with h5py.File(path) as file:
            model = file["sessions/model"]
            area = np.array([name.decode() for name in model["units/area"][:]])
            spikes = model["binned/spikes"][:]
            activity = {name: features(spikes[:, :, area == name].mean(2)) for name in AREAS}
            columns[path] = templates.types(activity, features(model["behaviour/jaw/data"][:]))
    print("| | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 1))
    for name in TYPES:
        print(f"| {name} | " + " | ".join(share(types, name) for types in columns.values()) + " |")


main()
