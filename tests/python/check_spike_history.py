"""Computes in NumPy what an exported spike-history network says, and compares it with the program. Any difference is an error.

    check_spike_history.py clamped PARAMETERS.h5 RECORDING.h5 WINDOW.json
    check_spike_history.py simulated PARAMETERS.h5 MODEL.h5
    check_spike_history.py tables PARAMETERS.h5 CSV_FOLDER SONATA_FOLDER
"""

import json
import sys
from pathlib import Path

import h5py
import numpy as np


def features(file, stimulus, bins):
    """Features [bins, functions * channels] of a scaled stimulus [T, C], which holds its first bin before it begins."""
    basis = file["encoder/basis"][:].astype(float)
    mean, sd = (file[f"encoder/feature_{name}"][:].astype(float)[:, np.newaxis] for name in ("mean", "sd"))
    lags = np.arange(basis.shape[1])
    rows = []
    for t in bins:
        past = stimulus[np.maximum(t - lags, 0)]  # [lag, channel]
        rows.append(((basis @ past - mean) / sd).ravel())
    return np.array(rows)


def drive(file, session, trial, bins):
    """Drive [bins, N] of some bins of a trial."""
    kind = file["encoder/kind"].asstr()[()]
    n = len(file["neurons/bias"])
    if kind == "none":
        return np.zeros((len(bins), n))
    if kind == "bins":
        raise SystemExit("bins are of a session of the run")
    movie = session["stimulus/movies"][session["trials/movie"][trial]].astype(float)
    stimulus = file["encoder/stimulus_scale"][()] * movie + file["encoder/stimulus_offset"][()]
    x = features(file, stimulus, bins)
    for number, layer in enumerate(file["encoder/layers"].asstr()[:]):
        assert layer.startswith("dense"), layer
        x = np.maximum(x @ file[f"encoder/{number}/w"][:].T + file[f"encoder/{number}/bias"][:], 0)
    return x @ file["encoder/out/w"][:]


def probabilities(file, spikes, driven, bins):
    """Spike probability [bins, N] given all spikes [T, N] before each bin, silence before the first."""
    weights, bias = file["weights"][:].astype(float), file["neurons/bias"][:]
    threshold, temperature = file["model/threshold"][()], file["model/temperature"][()]
    dt = file["model/dt_ms"][()]
    lags = np.round(file["delays_ms"][:] / dt).astype(int)
    assert list(lags) == list(range(1, len(lags) + 1))
    u = bias + driven
    for row, t in enumerate(bins):
        for kernel, lag in zip(weights, lags):
            if t >= lag:
                u[row] += kernel @ spikes[t - lag]
    return 1 / (1 + np.exp(-temperature * (u - threshold) / threshold))


def check_clamped(parameters, recording, window):
    window = json.loads(Path(window).read_text())
    with h5py.File(parameters) as file, h5py.File(recording) as data:
        session = data["sessions"][window["session"]]
        spikes = np.minimum(session["binned/spikes"][window["trial"]], 1).astype(float)
        bins = range(window["first"], window["first"] + len(window["p"]))
        found = probabilities(file, spikes, drive(file, session, window["trial"], bins), bins)
        np.testing.assert_allclose(found, window["p"], atol=2e-5)
        assert np.ptp(found) > 0.01, "a network that says nothing"
        # The kernels are what their coefficients and functions make.
        made = np.einsum("bd,bij->dij", file["kernels/basis"][:], file["kernels/coefficients"][:])
        np.testing.assert_allclose(made, file["weights"][:], atol=1e-6)
    print("clamped:", found.shape)


def check_simulated(parameters, model):
    """Simulated spikes are drawn with the probabilities that the exported network gives for them."""
    residual, variance, lagged = 0, 0, {}
    with h5py.File(parameters) as file, h5py.File(model) as data:
        session = data["sessions/model"]
        spikes = session["binned/spikes"][:].astype(float)
        assert list(session["units/id"].asstr()[:]) == list(file["neurons/unit"].asstr()[:])
        driven = {}
        for trial in range(len(spikes)):
            movie = int(session["trials/movie"][trial])
            bins = range(spikes.shape[1])
            if movie not in driven:
                driven[movie] = drive(file, session, trial, bins)
            p = probabilities(file, spikes[trial], driven[movie].copy(), bins)
            residual = residual + (spikes[trial] - p).sum(axis=0)
            variance = variance + (p * (1 - p)).sum(axis=0)
            for lag in (1, 2):  # residuals don't know the spikes before
                e, past = (spikes[trial] - p)[lag:], spikes[trial][:-lag]
                s, v = e.T @ past, (p * (1 - p))[lag:].T @ past**2
                old = lagged.get(lag, (0, 0))
                lagged[lag] = (old[0] + s, old[1] + v)
    z = residual / np.sqrt(variance)
    # 4.5 standard deviations: 7e-6 for each of some dozens of numbers.
    assert np.abs(z).max() < 4.5, z
    for lag, (s, v) in lagged.items():
        z = s / np.sqrt(np.maximum(v, 1))
        assert np.abs(z).max() < 4.5, (lag, z)
    print("simulated:", int(variance.sum()), "spikes or so")


def check_tables(parameters, csv, sonata):
    import pandas

    with h5py.File(parameters) as file:
        weights, delays, threshold = file["weights"][:], file["delays_ms"][:], file["model/threshold"][()]
        bias, units = file["neurons/bias"][:], list(file["neurons/unit"].asstr()[:])
        attributes = dict(file["weights"].attrs)
    assert list(attributes["axes"]) == ["delay", "to", "from"] and attributes["unit"] == "model potential"
    table = pandas.read_csv(Path(csv, "synapses.csv"), keep_default_na=False, dtype={"pre_unit": str, "post_unit": str})
    made = np.zeros_like(weights)
    lag = {float(delay): i for i, delay in enumerate(delays)}
    rows = [lag[float(ms)] for ms in table["delay_ms"]]
    made[rows, table["post"], table["pre"]] = table["weight"].astype("f4")
    np.testing.assert_array_equal(made, weights)
    assert list(table["pre_unit"]) == [units[i] for i in table["pre"]]
    np.testing.assert_allclose(table["psp"], table["weight"] / threshold, rtol=1e-5)
    neurons = pandas.read_csv(Path(csv, "neurons.csv"), keep_default_na=False, dtype={"unit": str})
    assert list(neurons["unit"]) == units
    np.testing.assert_array_equal(neurons["bias"].astype("f4"), bias)
    with h5py.File(Path(sonata, "edges.h5")) as edges:
        group = edges["edges/network_to_network"]
        rows = [int(np.abs(delays - ms).argmin()) for ms in group["0/delay"][:]]  # single precision
        np.testing.assert_allclose(group["0/delay"][:], delays[rows], rtol=1e-6)
        made = np.zeros_like(weights)
        made[rows, group["target_node_id"][:], group["source_node_id"][:]] = group["0/syn_weight"][:]
    np.testing.assert_array_equal(made, weights)
    import libsonata

    population = libsonata.EdgeStorage(str(Path(sonata, "edges.h5"))).open_population("network_to_network")
    assert population.size == np.count_nonzero(weights)
    print("tables:", population.size, "edges")


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    {"clamped": check_clamped, "simulated": check_simulated, "tables": check_tables}[command](*arguments)
