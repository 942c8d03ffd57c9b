"""Time and memory of reading a large NWB file: snnfit beside pynwb.

    python scripts/bench/read_nwb.py [--program target/release/snnfit] [--spikes 10000000] [--runs 5]

Writes a file of 1000 units and 500 trials into a temporary folder, reads it with each in turn, and prints the best times of the runs
and the largest memory (resident, of a process and those that it starts, whichever takes most). pynwb reads what an import takes: all
spike times and the columns of units and trials. scripts/python.sh prints an interpreter that has pynwb.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

PYNWB = """
import sys, time
import pynwb
start = time.perf_counter()
with pynwb.NWBHDF5IO(sys.argv[1], "r") as io:
    file = io.read()
    units, trials = file.units, file.trials
    n = sum(len(units["spike_times"][i]) for i in range(len(units)))
    columns = [units[name][:] for name in units.colnames if name != "spike_times"]
    columns += [trials[name][:] for name in trials.colnames]
print(n, time.perf_counter() - start)
"""


def make(path, n_spikes, n_units=1000, n_trials=500):
    import numpy as np
    import pynwb

    rng = np.random.default_rng(0)
    seconds = 3.0 * n_trials
    file = pynwb.NWBFile("large", "large", datetime(2026, 1, 1, tzinfo=timezone.utc))
    file.add_unit_column("area", "area")
    file.add_unit_column("isi_violations", "share of short intervals")
    file.add_trial_column("choice", "side")
    for unit in range(n_units):
        times = np.sort(rng.uniform(0, seconds, n_spikes // n_units + (unit < n_spikes % n_units)))
        file.add_unit(spike_times=times, area=f"area{unit % 6}", isi_violations=rng.uniform())
    for trial in range(n_trials):
        file.add_trial(start_time=3.0 * trial, stop_time=3.0 * trial + 2.5, choice=["left", "right"][trial % 2])
    with pynwb.NWBHDF5IO(path, "w") as io:
        io.write(file)


def measured(command):
    """Wall time and processor time (s) of a command, its largest memory (MiB), and what it printed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, said = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}\n{said}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--program", default="target/release/snnfit")
    arguments.add_argument("--spikes", type=int, default=10_000_000)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--make", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.make:
        return make(options.make, options.spikes)
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "large.nwb", Path(folder) / "large.h5"
        # In another process: what this one ever held would count for its children.
        subprocess.run([sys.executable, __file__, "--make", str(path), "--spikes", str(options.spikes)], check=True)
        print(f"{options.spikes} spikes, 1000 units, 500 trials, {path.stat().st_size / 2**20:.0f} MiB")
        commands = {
            "snnfit inspect": [options.program, "inspect", str(path)],
            "snnfit import": [options.program, "import", str(path), "--out", str(out)],
            "pynwb": [sys.executable, "-c", PYNWB, str(path)],
        }
        best = {name: [float("inf"), float("inf"), 0.0, float("inf")] for name in commands}
        for _ in range(options.runs):
            for name, command in commands.items():
                out.unlink(missing_ok=True)
                seconds, processor, mib, said = measured(command)
                best[name][0] = min(best[name][0], seconds)
                best[name][1] = min(best[name][1], processor)
                best[name][2] = max(best[name][2], mib)
                if name == "pynwb":
                    n, reading = said.split()
                    assert int(n) == options.spikes
                    best[name][3] = min(best[name][3], float(reading))
        for name, (seconds, processor, mib, reading) in best.items():
            inner = "" if reading == float("inf") else f"; reading alone {reading:.2f} s"
            print(f"{name}: {seconds:.2f} s, {processor:.2f} s of processor time, {mib:.0f} MiB{inner}")


main()
