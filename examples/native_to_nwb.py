#!/usr/bin/env python3
"""Writes each session of a snnfit recording as an NWB file, with pynwb: how one reads the native file, and what `import` takes.

usage: native_to_nwb.py RECORDING.h5 FOLDER

Needs h5py and pynwb. Only recordings of spike times; docs/FORMATS.md has every dataset.
"""

import sys
from datetime import datetime, timezone
from pathlib import Path

import h5py
from pynwb import NWBHDF5IO, NWBFile, TimeSeries


def texts(dataset):
    return dataset.asstr()[:]


def to_nwb(name, session):
    start = datetime(2000, 1, 1, tzinfo=timezone.utc)
    nwb = NWBFile(session_description="from a snnfit recording", identifier=name, session_start_time=start, session_id=name)
    units, trials = session["units"], session["trials"]
    nwb.add_unit_column("unit_name", "name of the unit in the recording")
    nwb.add_unit_column("area", "brain area")
    nwb.add_unit_column("cell_type", "excitatory, inhibitory or unknown")
    times, ends = units["spike_times"][:], units["spike_times_index"][:]
    observed = [[session.attrs["observed_start_s"], session.attrs["observed_stop_s"]]] if "observed_start_s" in session.attrs else None
    own = [[]] * len(ends)
    if "obs_intervals" in units:
        own_ends = units["obs_intervals_index"][:]
        own = [units["obs_intervals"][first:end] for first, end in zip([0, *own_ends[:-1]], own_ends)]
    rows = zip(texts(units["id"]), texts(units["area"]), texts(units["cell_type"]), [0, *ends[:-1]], ends, own)
    for unit, area, cell_type, first, end, stretches in rows:
        seen = stretches if len(stretches) else observed
        nwb.add_unit(unit_name=unit, area=area, cell_type=cell_type, spike_times=times[first:end], obs_intervals=seen)
    for column, meaning in [("align_time", "event (s)"), ("stimulus", "value"), ("trial_type", "label")]:
        nwb.add_trial_column(column, meaning)
    columns = [trials[key][:] for key in ("start_time", "stop_time", "align_time", "stimulus")]
    for start, stop, align, stimulus, label in zip(*columns, texts(trials["trial_type"])):
        nwb.add_trial(start_time=start, stop_time=stop, align_time=align, stimulus=stimulus, trial_type=label)
    behaviour = nwb.create_processing_module("behavior", "traces") if len(session.get("behaviour", {})) else None
    for trace, group in session.get("behaviour", {}).items():
        timing = {"timestamps": group["timestamps"][:]} if "timestamps" in group else {
            "rate": float(group.attrs["rate_hz"]), "starting_time": float(group.attrs.get("start_s", 0.0))}
        unit = group.attrs.get("unit", "") or "n/a"
        behaviour.add(TimeSeries(name=trace, data=group["data"][:], unit=unit, **timing))
    return nwb


def main(recording, folder):
    Path(folder).mkdir(parents=True, exist_ok=True)
    with h5py.File(recording, "r") as file:
        for name, session in file["sessions"].items():
            path = Path(folder) / f"{name}.nwb"
            with NWBHDF5IO(path, "w") as io:
                io.write(to_nwb(name, session))
            print(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
