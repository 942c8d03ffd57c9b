"""Writes the files that the README's section on NWB begins with.

    python make_mice.py FOLDER

Makes FOLDER/mouse7.nwb and FOLDER/mouse8.nwb: two areas whose units answer a stimulus, and a jaw that moves in hits.
"""

import sys
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from pynwb import NWBHDF5IO, NWBFile, TimeSeries

N_TRIALS = 60
PERIOD_S = 4.0


def mouse(name, seed):
    rng = np.random.default_rng(seed)
    nwb = NWBFile(
        session_description="a made-up session",
        identifier=name,
        session_start_time=datetime(2026, 1, 1, tzinfo=timezone.utc),
    )
    starts = 10.0 + PERIOD_S * np.arange(N_TRIALS)
    stimuli = starts + rng.uniform(1.0, 1.2, N_TRIALS)
    hits = rng.random(N_TRIALS) < 0.6
    early = rng.random(N_TRIALS) < 0.1
    for column in ["stim_on", "outcome", "response"]:
        nwb.add_trial_column(name=column, description=column)
    for start, stimulus, hit, is_early in zip(starts, stimuli, hits, early):
        nwb.add_trial(
            start_time=start,
            stop_time=start + 3.5,
            stim_on=stimulus,
            outcome="hit" if hit else "miss",
            response="early" if is_early else "lick" if hit else "none",
        )
    for column in ["location", "isi_violations", "presence_ratio"]:
        nwb.add_unit_column(name=column, description=column)
    end = starts[-1] + PERIOD_S
    for unit in range(36):
        area = "wS1" if unit % 2 == 0 else "wM2"
        rate = rng.lognormal(np.log(6.0), 0.6)
        spikes = [rng.uniform(0.0, end, rng.poisson(rate * end))]
        for stimulus, hit in zip(stimuli, hits):
            if area == "wS1" or hit:
                latency = 0.015 if area == "wS1" else 0.04
                spikes.append(stimulus + latency + rng.exponential(0.02, rng.poisson(1.5)))
        nwb.add_unit(
            spike_times=np.sort(np.concatenate(spikes)),
            location=area,
            isi_violations=0.8 if unit == 35 else rng.uniform(0.0, 0.4),
            presence_ratio=0.5 if unit == 34 else rng.uniform(0.95, 1.0),
        )
    times = np.arange(0.0, end, 0.005)
    jaw = 0.05 * rng.standard_normal(times.size)
    for stimulus, hit in zip(stimuli, hits):
        if hit:
            jaw += np.exp(-0.5 * ((times - stimulus - 0.2) / 0.05) ** 2)
    behavior = nwb.create_processing_module("behavior", "a jaw")
    behavior.add(TimeSeries(name="jaw", data=jaw, unit="mm", starting_time=0.0, rate=200.0))
    return nwb


for name, seed in [("mouse7", 7), ("mouse8", 8)]:
    with NWBHDF5IO(Path(sys.argv[1]) / f"{name}.nwb", "w") as io:
        io.write(mouse(name, seed))
