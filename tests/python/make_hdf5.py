"""Writes HDF5 files without a format with h5py, and says what h5py reads from them.

    python make_hdf5.py FOLDER            makes FOLDER/{ends,clusters,each,counts}.h5
    python make_hdf5.py FILE.h5 OUT.json  writes all datasets of a file: numbers and texts as lists, by path

Tests of the reader compare with the second form value by value.
"""

import json
import sys
from pathlib import Path

import h5py
import numpy as np

rng = np.random.default_rng(20261127)


def plain(array):
    """A list that JSON takes, row by row: NaN becomes null, texts are decoded."""
    array = np.asarray(array)
    if array.dtype.kind in "SO":
        return [x.decode() if isinstance(x, bytes) else x for x in array.ravel()]
    return [None if x != x else x for x in array.ravel().tolist()]


def describe(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: plain(item[()])}) if isinstance(item, h5py.Dataset) else None)
    return found


def trains(sizes):
    return [np.sort(rng.uniform(0, 60, n)) for n in sizes]


def trials(file):
    group = file.create_group("trials")
    group["start_time"] = np.arange(8) * 7.0
    group["stop_time"] = np.arange(8) * 7.0 + 5.0
    group["go_cue"] = np.where(np.arange(8) == 3, np.nan, np.arange(8) * 7.0 + 1.5)
    group["choice"] = np.array(["left", "right"] * 4, dtype=h5py.string_dtype())
    group["rewarded"] = np.arange(8) % 3 == 0
    group["position"] = rng.normal(size=(8, 3)).astype("f4")
    group["large"] = np.arange(8, dtype="u8") + 2**60


def ends(path):
    units = trains([40, 0, 300, 7])
    with h5py.File(path, "w") as file:
        file.attrs["session_id"] = "mouse7_monday"
        group = file.create_group("units")
        group.create_dataset("spike_times", data=np.concatenate(units), chunks=(64,), compression="gzip", shuffle=True)
        group["spike_times"].attrs["units"] = "s"
        group["spike_times_index"] = np.cumsum([len(u) for u in units]).astype("u2")
        group["obs_intervals"] = np.array([[0.0, 60.0]] * 4)
        group["obs_intervals_index"] = np.arange(1, 5)
        group["id"] = np.array([11, 4, 9, 30], dtype="i2")
        group["area"] = np.array([b"V1", b"V1", b"CA1", b"CA1"])
        group["good"] = [True, True, False, True]
        group["layer"] = np.array([0, 1, 1, 0], dtype=h5py.enum_dtype({"L23": 0, "L5": 1}, basetype="i1"))
        group["depth"] = np.array([100, 200, 300, 400], dtype=">f4")
        group["waveform_mean"] = rng.normal(size=(4, 82, 3))
        trials(file)
        file["position/time"] = np.arange(500) / 8
        file["position/xy"] = rng.integers(0, 600, size=(500, 2)).astype("u2")
        file["position/xy"].attrs["units"] = "pixels"
        file["position/xy"].attrs["channels"] = ["x", "y"]
        file["lfp"] = rng.normal(size=(2, 900)).astype("f2")
        file["lfp"].attrs.update(axes="channel,time", rate_hz=15.0, start_s=0.25)
        file["series/jaw"] = rng.normal(size=600)
        file["series/jaw_rate_hz"], file["series/jaw_unit"] = 10.0, "mm"
        file["eye/pupil"] = rng.normal(size=50).astype("f4")
        file["eye/pupil_timestamps"] = np.arange(50) * 1.2
        file["eye/open"] = rng.uniform(size=50) < 0.5
        file["eye/t"] = np.arange(50) * 1.1
        file["laser/start_time"], file["laser/stop_time"] = [1.0, 9.0], [2.0, 9.5]
        file["laser/power_mw"] = [3, 5]
        file["notes"] = "a text"
        file["images"] = np.zeros((3, 4, 5), dtype="u1")
        file["calcium"] = rng.normal(size=(5, 77))


def clusters(path):
    """Spikes at the root, by cluster; samples of a clock of 30 kHz as whole numbers."""
    times = np.sort(rng.integers(0, 60 * 30000, 400))
    with h5py.File(path, "w") as file:
        file["spike_times"], file["spike_clusters"] = times, rng.choice([3, 8, 70000], 400).astype("i4")
        file["units/cluster_id"], file["units/area"] = [70000, 8, 3, 5], ["A", "B", "C", "D"]
        trials(file)


def each(path):
    units = trains([5, 30, 11, 2] + [3] * 8)
    with h5py.File(path, "w") as file:
        for n, times in enumerate(units):
            file[f"units/spike_times/{n}"] = times
        file["units/depth"] = np.arange(12) * 10.0


def counts(path):
    """Counts in bins, and what may be said of them."""
    with h5py.File(path, "w") as file:
        file.create_dataset("spikes", data=rng.poisson(0.3, (12, 40, 5)).astype("u1"), chunks=(4, 40, 5), compression="gzip")
        file["stimulus"] = rng.normal(size=(40, 3)).astype("f4")
        file["areas"], file["cell_types"] = ["V1"] * 3 + ["CA1"] * 2, ["excitatory", "inhibitory", "unknown"] + ["excitatory"] * 2
        file["trial_types"], file["stimulus_values"] = ["hit", "miss"] * 6, np.arange(12.0)
        file["valid_bins"] = np.array([40] * 11 + [30])


def main():
    target = Path(sys.argv[1])
    if target.is_dir():
        for make in (ends, clusters, each, counts):
            make(target / f"{make.__name__}.h5")
        return
    Path(sys.argv[2]).write_text(json.dumps(describe(target), allow_nan=False))


main()
