#!/usr/bin/env python3
"""Reads and writes snnfit recordings with h5py and NumPy alone; docs/FORMATS.md has every dataset.

usage: native.py RECORDING.h5 COPY.h5

A session is a dict: "units" and "trials" (columns by name), "spikes" (a list of arrays of times, s; or an array of counts
[trials, bins, units]), "behaviour" (traces by name), "stimulus" (movies), and "attributes" of the group and of "binned".
"""

import sys

import h5py
import numpy as np


def content(group):
    """All datasets below a group as arrays, texts as str, and its attributes under "attributes"."""
    found = {"attributes": dict(group.attrs)} if len(group.attrs) else {}
    for name, item in group.items():
        is_text = isinstance(item, h5py.Dataset) and h5py.check_string_dtype(item.dtype)
        found[name] = content(item) if isinstance(item, h5py.Group) else item.asstr()[:] if is_text else item[:]
    return found


def read(path):
    """The sessions of a recording by name, in the order of the file."""
    with h5py.File(path) as file:
        if file.attrs.get("format") != "snnfit-recording" or file.attrs["version"] > 1:
            raise ValueError(f"{path} is no snnfit recording of version 1")
        groups = sorted(file["sessions"].items(), key=lambda item: item[1].attrs.get("index", np.inf))
        sessions = {name: content(group) for name, group in groups}
    for session in sessions.values():
        units = session["units"]
        if "binned" in session:
            session["spikes"] = session["binned"].pop("spikes")  # bin width and start stay in its attributes
        else:
            session["spikes"] = np.split(units.pop("spike_times"), units.pop("spike_times_index")[:-1])
    return sessions


def store(group, items):
    """The reverse of content."""
    for name, value in items.items():
        if name == "attributes":
            group.attrs.update(value)
        elif isinstance(value, dict):
            store(group.create_group(name), value)
        else:
            group[name] = value


def write(path, sessions):
    """Writes sessions as `read` returns them; `snnfit inspect` says what is in the file, or wrong with it."""
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["version"] = "snnfit-recording", 1
        for index, (name, session) in enumerate(sessions.items()):
            group = file.create_group(f"sessions/{name}")
            store(group, {key: value for key, value in session.items() if key != "spikes"})
            group.attrs["index"] = index
            spikes = session["spikes"]
            if isinstance(spikes, np.ndarray):
                group["binned/spikes"] = spikes
            else:
                group["units/spike_times"] = np.concatenate(spikes)
                group["units/spike_times_index"] = np.cumsum([len(times) for times in spikes])


if __name__ == "__main__":
    write(sys.argv[2], read(sys.argv[1]))
