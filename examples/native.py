#!/usr/bin/env python3
"""Reads and writes snnfit recordings with h5py and NumPy alone; docs/FORMATS.md has every dataset.

usage: native.py RECORDING.h5 COPY.h5
`psth` shows what of a recording counts.

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


def is_observed(session, unit, from_s, to_s):
    """Whether a unit was observed from from_s to to_s of each trial (s on the clock of the session)."""
    presence = session.get("binned", {}).get("presence")
    if presence is not None:
        return presence[:, unit].astype(bool)
    units = session["units"]
    ends = units.get("obs_intervals_index")
    own = units["obs_intervals"][ends[unit - 1] if unit else 0 : ends[unit]] if ends is not None else []
    if not len(own):
        return np.ones(len(from_s), bool)  # nothing is said of it
    slack = 1e-6  # s; intervals that touch are one
    first = np.concatenate([[True], own[1:, 0] > own[:-1, 1] + slack])
    starts, stops = own[first, 0], own[np.append(first[1:], True), 1]
    held_by = np.searchsorted(starts, from_s + slack, side="right") - 1
    return (held_by >= 0) & (stops[held_by] >= to_s - slack)


def psth(session, unit, edges_s):
    """Mean rate (Hz) of a unit (its number) in bins relative to the event; NaN where nothing was recorded.

    Of each trial in which the unit was observed the leading bins count that lie within the trial and the recording; a trial
    that begins after the first bin does has none.
    """
    trials, limits, binned = session["trials"], session.get("attributes", {}), session.get("binned")
    event = trials["align_time"]
    start = np.maximum(trials["start_time"], limits.get("observed_start_s", -np.inf)) - event
    stop = np.minimum(trials["stop_time"], limits.get("observed_stop_s", np.inf)) - event
    if binned:
        width_s, first_s = (binned["attributes"][key] / 1000 for key in ("bin_ms", "start_ms"))
        n_stored = session["spikes"].shape[1]
        valid = trials.get("valid_bins", np.full(len(event), -1))
        stop = np.minimum(stop, first_s + width_s * np.where(valid < 0, n_stored, valid))
    n_valid = np.where(start <= edges_s[0] + 1e-9, (edges_s[1:, None] <= stop + 1e-9).sum(axis=0), 0)
    end = edges_s[n_valid]
    used = is_observed(session, unit, event + edges_s[0], event + end) & (n_valid > 0)
    if binned:
        at = first_s + width_s * (np.arange(n_stored) + 0.5)
        weights = (session["spikes"][:, :, unit] * (used[:, None] & (at < end[:, None]))).sum(axis=0)
    else:
        slack = 1e-6 * np.diff(edges_s).min()  # a spike on an edge belongs to the later bin
        times = session["spikes"][unit] + slack
        pairs = zip(np.searchsorted(times, event + edges_s[0]), np.searchsorted(times, event + end), event, used)
        at = np.concatenate([times[a:b] - zero for a, b, zero, is_used in pairs if is_used] or [[]])
        weights = np.ones(len(at))
    n_bins = len(edges_s) - 1
    bins = np.searchsorted(edges_s, at, side="right") - 1
    inside = (bins >= 0) & (bins < n_bins)
    counts = np.bincount(bins[inside], weights[inside], n_bins)
    seconds = (n_valid[used, None] > np.arange(n_bins)).sum(axis=0) * np.diff(edges_s)
    return np.divide(counts, seconds, out=np.full(n_bins, np.nan), where=seconds > 0)


if __name__ == "__main__":
    write(sys.argv[2], read(sys.argv[1]))
