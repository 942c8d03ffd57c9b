"""Writes NWB files with pynwb, and beside each what pynwb reads back from it, as JSON.

    make_nwb.py FOLDER            writes FOLDER/NAME.nwb and FOLDER/NAME.json
    make_nwb.py --read FILE JSON  describes a file that is already there

The Rust tests of the reader compare every value with the JSON. In it NaN is null; series hold their values in their unit.
"""

import json
import sys
from datetime import datetime, timezone
from pathlib import Path

import h5py
import numpy as np
from hdmf.common import DynamicTableRegion, EnumData, VectorIndex
from pynwb import NWBHDF5IO, H5DataIO, NWBFile, TimeSeries
from pynwb.behavior import BehavioralEpochs, BehavioralEvents, BehavioralTimeSeries, Position, PupilTracking, SpatialSeries
from pynwb.ecephys import LFP, ElectricalSeries
from pynwb.epoch import TimeIntervals
from pynwb.event import EventsTable
from pynwb.image import ImageSeries
from pynwb.misc import AnnotationSeries, IntervalSeries
from pynwb.ogen import OptogeneticSeries, OptogeneticStimulusSite

START = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


def empty(identifier):
    return NWBFile(session_description="made for a test", identifier=identifier, session_start_time=START)


def add_electrodes(nwb, n_groups, per_group):
    """Groups on one device each, their electrodes in two locations."""
    nwb.add_electrode_column("depth_um", "depth")
    nwb.add_electrode_column("is_good", "whether it works")
    groups = []
    for g in range(n_groups):
        device = nwb.create_device(f"probe{g}")
        groups.append(nwb.create_electrode_group(f"shank{g}", "a shank", f"area{g}", device))
        for i in range(per_group):
            location = f"area{g}" if i < per_group // 2 else f"area{g}-deep"
            nwb.add_electrode(x=float(g), y=0.5 * i, z=float("nan"), location=location, group=groups[g],
                              depth_um=20.0 * i, is_good=i % 3 > 0)
    return groups


def add_units(nwb, rng, n_units, groups, per_group, duration):
    """Units of every kind of column; some without a spike, some with several stretches of observation."""
    nwb.add_unit_column("quality", "label")
    nwb.add_unit_column("snr", "a number, sometimes missing")
    nwb.add_unit_column("n_channels", "an integer")
    nwb.add_unit_column("is_single", "a flag")
    nwb.add_unit_column("isi_violations", "several values in a row", index=True)
    for n in range(n_units):
        n_spikes = 0 if n % 7 == 3 else int(rng.integers(1, 200))
        g = n % len(groups)
        first = g * per_group + int(rng.integers(0, per_group - 2))
        edges = np.sort(rng.uniform(0, duration, 2 + 2 * (n % 3)))
        nwb.add_unit(
            id=100 + 3 * n,
            spike_times=np.sort(rng.uniform(0, duration, n_spikes)),
            obs_intervals=edges.reshape(-1, 2),
            electrodes=[first] if n % 4 else [first, first + 2],
            electrode_group=groups[g],
            waveform_mean=rng.normal(size=(8, 2)),
            quality=["good", "mua", "noise µ"][n % 3],
            snr=float("nan") if n % 5 == 2 else float(rng.uniform(1, 9)),
            n_channels=int(rng.integers(1, 30)),
            is_single=bool(n % 2),
            isi_violations=list(rng.uniform(size=n % 3)),
        )


def add_trials(nwb, rng, n_trials):
    nwb.add_trial_column("outcome", "label")
    nwb.add_trial_column("amplitude", "a number, sometimes missing")
    nwb.add_trial_column("block", "an integer")
    nwb.add_trial_column("is_rewarded", "a flag")
    nwb.add_trial_column("lick_times", "several in a trial", index=True)
    nwb.trials.add_column("side", "an element of a list", data=[], enum=["left", "right"])
    for k in range(n_trials):
        nwb.add_trial(
            start_time=2.0 * k, stop_time=2.0 * k + 1.5,
            outcome=["hit", "miss", ""][k % 3],
            amplitude=float("nan") if k % 4 == 1 else 0.1 * k,
            block=k // 5, is_rewarded=k % 3 == 0, side=["left", "right"][k % 2],
            lick_times=list(2.0 * k + np.sort(rng.uniform(0, 1.5, k % 4))),
        )


def add_behaviour(nwb, rng, groups):
    times = np.cumsum(rng.uniform(0.01, 0.03, 400))
    pupil = TimeSeries(name="pupil_diameter", data=rng.normal(size=400), unit="mm", timestamps=times,
                       conversion=0.5, offset=1.25)
    # The same timestamps, which pynwb stores as a soft link.
    motion = TimeSeries(name="motion_energy", data=rng.integers(0, 4000, 400).astype("u2"), unit="a.u.", timestamps=pupil)
    position = SpatialSeries(name="position", data=rng.normal(size=(300, 2)).astype("f4"), unit="meters", rate=60.0,
                             starting_time=0.75, reference_frame="cage", conversion=0.01)
    module = nwb.create_processing_module("behavior", "behaviour")
    module.add(BehavioralTimeSeries(name="BehavioralTimeSeries", time_series=[motion]))
    module.add(PupilTracking(name="PupilTracking", time_series=[pupil]))
    module.add(Position(name="Position", spatial_series=[position]))
    rewards = TimeSeries(name="rewards", data=np.ones(6), unit="ul", timestamps=np.arange(6) + 0.5)
    module.add(BehavioralEvents(name="BehavioralEvents", time_series=[rewards]))
    running = IntervalSeries(name="running", data=np.array([1, -1, 2, 1, -2, -1], dtype="i1"),
                             timestamps=[0.0, 1.0, 2.0, 2.5, 3.0, 4.0])
    module.add(BehavioralEpochs(name="BehavioralEpochs", interval_series=[running]))
    licks = TimeIntervals(name="lick_bouts", description="bouts")
    licks.add_column("n_licks", "how many")
    for k in range(4):
        licks.add_row(start_time=1.0 * k, stop_time=k + 0.25, n_licks=k)
    module.add(licks)
    # A name that is there twice.
    for place, offset in [("acquisition", 0.0), ("stimulus", 5.0)]:
        series = TimeSeries(name="jaw", data=np.arange(50) + offset, unit="px", rate=100.0)
        nwb.add_acquisition(series) if place == "acquisition" else nwb.add_stimulus(series)
    nwb.add_acquisition(AnnotationSeries(name="notes", data=["start", "stop"], timestamps=[0.1, 9.0]))
    nwb.add_acquisition(ImageSeries(name="video", data=np.zeros((5, 4, 3), "u1"), unit="n.a.", rate=30.0))
    nwb.add_acquisition(TimeSeries(name="sync", data=np.array([True, False] * 10), unit="n.a.", rate=10.0))
    region = nwb.create_electrode_table_region([0, 1, 2], "three of them")
    raw = ElectricalSeries(name="raw", data=H5DataIO(rng.integers(-900, 900, (1000, 3)).astype("i2"), compression="gzip",
                           chunks=(128, 2)), electrodes=region, rate=2500.0, conversion=1e-6,
                           channel_conversion=[1.0, 2.0, 0.5], offset=1e-5)
    nwb.add_acquisition(raw)
    lfp = ElectricalSeries(name="lfp", data=rng.normal(size=(200, 3)), electrodes=region, rate=1250.0)
    nwb.create_processing_module("ecephys", "filtered").add(LFP(name="LFP", electrical_series=[lfp]))
    site = OptogeneticStimulusSite(name="site", device=groups[0].device, description="laser", excitation_lambda=473.0,
                                   location="area0")
    nwb.add_ogen_site(site)
    nwb.add_stimulus(OptogeneticSeries(name="laser", data=np.abs(rng.normal(size=100)), site=site, rate=50.0))
    nwb.add_epoch(0.0, 10.0, ["training", "first half"])
    nwb.add_epoch(10.0, 20.5, ["test"])
    flashes = TimeIntervals(name="flashes", description="shown")
    flashes.add_column("contrast", "of the flash")
    for k in range(3):
        flashes.add_row(start_time=k + 0.5, stop_time=k + 0.6, contrast=0.25 * k)
    nwb.add_stimulus(flashes)
    pulses = TimeIntervals(name="optogenetic_epochs", description="pulses")
    pulses.add_column("is_on", "a flag")
    for k in range(5):
        pulses.add_row(start_time=1.0 * k, stop_time=k + 0.1, is_on=k % 2 == 0)
    nwb.add_time_intervals(pulses)
    beeps = nwb.create_events_table("beeps", "events of newer versions of NWB")
    beeps.add_column("pitch_hz", "of the beep")
    for k in range(4):
        beeps.add_row(timestamp=0.3 * k, pitch_hz=440.0 * k)


def full():
    rng = np.random.default_rng(50)
    nwb = empty("mouse7/2024-05-01")
    groups = add_electrodes(nwb, 3, 8)
    add_units(nwb, rng, 50, groups, 8, 40.0)
    add_trials(nwb, rng, 20)
    add_behaviour(nwb, rng, groups)
    return nwb


def one_unit():
    """As little as possible: a unit, and nothing else."""
    nwb = empty("one")
    nwb.add_unit(spike_times=[0.25, 0.5, 7.0])
    return nwb


def many_units():
    rng = np.random.default_rng(1000)
    nwb = empty("many")
    groups = add_electrodes(nwb, 2, 96)
    add_units(nwb, rng, 1000, groups, 96, 600.0)
    return nwb


def plain(values):
    """Values as JSON takes them; NaN is null."""
    values = [v.decode() if isinstance(v, bytes) else v.item() if isinstance(v, np.generic) else v for v in values]
    return [None if isinstance(v, float) and np.isnan(v) else v for v in values]


def column(table, name):
    """Values of a scalar column; None for others."""
    cells = table[name]
    if isinstance(cells, VectorIndex):
        if name != "tags":
            return None
        return [";".join(cells[row]) for row in range(len(table))]
    if name == "timeseries":
        return None
    data = cells.data[:]
    if isinstance(cells, EnumData):
        return plain([cells.elements.data[i] for i in data])
    if np.ndim(data) > 1:
        return None
    if isinstance(cells, DynamicTableRegion):
        return plain(data)
    return [v.name if hasattr(v, "name") and not isinstance(v, (str, np.generic)) else v for v in plain(cells[:])]


def columns(table, skip=()):
    found = {"id": plain(table.id.data[:])}
    for name in table.colnames:
        values = None if name in skip else column(table, name)
        if values is not None:
            found[name] = values
    return found


def describe_units(units):
    found = columns(units, ["spike_times", "obs_intervals", "electrodes", "electrode_group"])
    if "electrode_group" in units.colnames:
        groups = list(units["electrode_group"][:])
        found["electrode_group"] = [group.name for group in groups]
        found["electrode_group.location"] = [group.location for group in groups]
        found["electrode_group.device"] = [group.device.name for group in groups]
    if "electrodes" in units.colnames:
        index, region = units["electrodes"], units.electrodes
        ends = list(index.data[:])
        first = [int(region.data[start]) for start in [0, *ends[:-1]]]
        for name, values in columns(region.table).items():
            found[f"electrodes.{name}"] = [values[row] for row in first]
    n_units = len(units)
    observed = None
    if "obs_intervals" in units.colnames:
        observed = [np.asarray(units["obs_intervals"][n]).tolist() for n in range(n_units)]
    spikes = [np.asarray(units["spike_times"][n]).tolist() for n in range(n_units)]
    return {"columns": found, "spikes": spikes, "observed": observed}


def describe_series(series):
    data = series.data
    is_images = np.ndim(data) > 2
    is_text = isinstance(series, AnnotationSeries)
    is_event = is_text or isinstance(getattr(series, "parent", None), BehavioralEvents)
    shape = [len(data), int(np.prod(np.shape(data)[1:]))]
    found = {"shape": shape, "unit": series.unit, "rate_hz": series.rate, "sort": "trace"}
    if is_images or is_event:
        found["sort"] = "images" if is_images else "events"
    else:
        values = np.asarray(series.get_data_in_units(), dtype=float).reshape(shape)
        found["values"] = [plain(row) for row in values]
        times = series.timestamps
        if isinstance(times, TimeSeries):
            times = times.timestamps
        found["timestamps"] = None if times is None else plain(times[:])
        found["start_s"] = series.starting_time
    return found


def describe(path):
    """All of a file that the Rust reader reads, as pynwb reads it."""
    paths = {}
    with h5py.File(path) as file:
        def note(name, thing):
            if "object_id" in thing.attrs:
                paths[str(thing.attrs["object_id"])] = "/" + name
        file.visititems(note)
        version = file.attrs["nwb_version"]
    with NWBHDF5IO(path, "r") as io:
        nwb = io.read()
        found = {
            "id": nwb.identifier.replace("/", "-"),
            "version": version,
            "units": describe_units(nwb.units),
            "trials": None if nwb.trials is None else columns(nwb.trials),
            "intervals": {},
            "series": {},
        }
        for thing in nwb.objects.values():
            where = paths.get(thing.object_id, "")
            if isinstance(thing, (TimeIntervals, EventsTable)) and where != "/intervals/trials":
                found["intervals"][thing.name] = columns(thing)
            if isinstance(thing, TimeSeries) and not isinstance(thing, IntervalSeries):
                found["series"][where] = describe_series(thing)
    return found


def write_json(path, found):
    path.write_text(json.dumps(found, allow_nan=False))


def main(arguments):
    if len(arguments) == 3 and arguments[0] == "--read":
        write_json(Path(arguments[2]), describe(arguments[1]))
        return
    (folder,) = arguments
    for name, make in [("full", full), ("one_unit", one_unit), ("many_units", many_units)]:
        path = Path(folder) / f"{name}.nwb"
        with NWBHDF5IO(path, "w") as io:
            io.write(make())
        write_json(path.with_suffix(".json"), describe(path))


if __name__ == "__main__":
    main(sys.argv[1:])
