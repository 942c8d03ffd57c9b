#!/usr/bin/env python3
"""A fitted network in a notebook: recorded and simulated PSTHs, and the weights between areas.

usage: notebook.py RECORDING.h5 SIMULATED.h5 PARAMETERS.h5 FIGURE.png

Cells begin with "# %%"; editors such as VS Code, Spyder and Jupytext run them one by one. The files come from
    snnfit simulate runs/a --trials 400 --out SIMULATED.h5
    snnfit export runs/a --out PARAMETERS.h5
Needs h5py, NumPy, matplotlib, and native.py beside this file.
"""

# %% Files
import sys

import h5py
import matplotlib
import matplotlib.pyplot as plt
import numpy as np

import native

recording_file, simulated_file, parameters_file, figure_file = sys.argv[1:5]
matplotlib.use("Agg")  # in a notebook: %matplotlib inline

# %% Recorded sessions, simulated trials, and the network
recording = native.read(recording_file)
model = native.read(simulated_file)["model"]
with h5py.File(parameters_file) as file:
    weights = file["weights"][:].sum(axis=0)  # [to, from], over delays
    psp = weights * file["neurons/psp_per_weight"][:][:, None]  # share of the way from rest to threshold
    area, cell_type, session, unit = (file[f"neurons/{key}"].asstr()[:] for key in ("area", "cell_type", "session", "unit"))
    print("fitted to step", file["provenance/step"][()], "| unit of weights:", file["weights"].attrs["unit"])

# %% PSTHs in the bins of the model
bin_ms, start_ms = (model["binned"]["attributes"][key] for key in ("bin_ms", "start_ms"))
rate_model = model["spikes"].mean(axis=0) / (bin_ms / 1000)  # [bins, neurons], Hz
edges_s = (start_ms + bin_ms * np.arange(len(rate_model) + 1)) / 1000
rate_data = np.full_like(rate_model, np.nan)
for n in range(len(unit)):
    if unit[n]:  # hidden neurons stand for no unit
        recorded = recording[session[n]]
        rate_data[:, n] = native.psth(recorded, list(recorded["units"]["id"]).index(unit[n]), edges_s)

smooth = max(1, round(10 / bin_ms))  # 10 ms


def smoothed(rates):
    n_bins = len(rates) // smooth * smooth
    return rates[:n_bins].reshape(-1, smooth, rates.shape[1]).mean(axis=1)


# %% Figure: one panel for each area, then the weights
areas, kinds = sorted(set(area)), [kind for kind in ("excitatory", "inhibitory", "unknown") if kind in cell_type]
colours = {"excitatory": "tab:red", "inhibitory": "tab:blue", "unknown": "tab:gray"}
figure = plt.figure(figsize=(11, 2.6 * len(areas)), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1, 1.15])
panels = np.atleast_1d(left.subplots(len(areas), 1, sharex=True))
time_ms = 1000 * edges_s[0] + bin_ms * smooth * (np.arange(len(smoothed(rate_model))) + 0.5)
for panel, name in zip(panels, areas):
    for kind in kinds:
        here = (area == name) & (cell_type == kind) & (unit != "")
        if here.any():
            label = f"{kind} (n = {here.sum()})"
            panel.plot(time_ms, np.nanmean(smoothed(rate_data[:, here]), axis=1), color=colours[kind], lw=1, alpha=0.5, label=f"{label}, recorded")
            panel.plot(time_ms, smoothed(rate_model[:, here]).mean(axis=1), color=colours[kind], lw=1.8, ls="--", label="model")
    panel.axvline(0, color="k", lw=0.5)
    panel.set(title=name, ylabel="rate (Hz)")
    panel.set_ylim(bottom=0)
    panel.legend(fontsize=7, frameon=False)
panels[-1].set_xlabel("time from stimulus (ms)")

order = np.lexsort((cell_type, area))
matrix = right.subplots()
limit = np.percentile(np.abs(psp[psp != 0]), 99) if (psp != 0).any() else 1
image = matrix.imshow(psp[np.ix_(order, order)], cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
short = {"excitatory": " exc", "inhibitory": " inh"}  # an area alone: of neurons of unknown type
groups = [area[n] + short.get(cell_type[n], "") for n in order]
starts = [0] + [i for i in range(1, len(groups)) if groups[i] != groups[i - 1]]
centres = [(start + end - 1) / 2 for start, end in zip(starts, starts[1:] + [len(groups)])]
for start in starts[1:]:
    is_area = area[order[start]] != area[order[start - 1]]
    for line in (matrix.axhline, matrix.axvline):
        line(start - 0.5, color="k", lw=1 if is_area else 0.3)
names = [groups[start] for start in starts]
matrix.set_xticks(centres, names, rotation=45, ha="right", fontsize=8)
matrix.set_yticks(centres, names, fontsize=8)
matrix.set(xlabel="from", ylabel="to", title="weights, summed over delays")
right.colorbar(image, ax=matrix, shrink=0.8, label="PSP of one spike / (threshold − rest)")
figure.savefig(figure_file, dpi=150)
