#!/usr/bin/env python3
"""What retina.sh evaluated: one small file for each run, and the table of docs/RESULTS.md.

usage: retina_table.py note RUN EVALUATION RECORD
       retina_table.py table RECORDS

A row for each method: mean over seeds and standard deviation, and below it the mean of the seeds' 95 % intervals (bootstrap over
trials and pairs). Reference scores are those of the specification (§2.2, §2.4 and §3): ceilings, the shipped filters of Mahuas et al. 2020 and
models of PyTorch, on the same test trials.
"""

import json
import math
import pathlib
import statistics
import sys

from methods_table import T_95
from record import fit, rounded

WINDOWS = ["20ms", "33.3ms", "41.7ms"]
METRICS = ["psth_correlation"] + [
    f"noise_correlation_{what}_{window}" for window in WINDOWS for what in ("r2", "r2_offset_free")
] + ["rate_ratio", "runaway_fraction", "bits_per_spike", "cross_entropy"]
NAMES = {"glm": "linear GLM, maximum likelihood", "mle": "maximum likelihood", "sm": "sample-and-measure"}
# PSTH, then strict and offset-free R² at 12, 20 and 25 bins.
REFERENCES = {
    "ceilings of the specification: noiseless model": [0.995, "–", 0.982, "–", 0.977, "–", 0.971],
    "the same with 54 simulated trials": ["–", "–", 0.964, "–", 0.955, "–", 0.943],
    "LN (specification)": [0.695, -1.9, -0.17, -2.2, -0.12, -3.1, -0.32],
    "GLM, maximum likelihood, 8 of 108 trials left out (specification)": [0.656, -8.6, 0.27, -43, -1.9, -76, -4.7],
    "2-step (specification)": [0.704, 0.88, 0.95, 0.87, 0.87, 0.74, 0.75],
    "LN, PyTorch (specification)": [0.717, -2.0, -0.15, -2.2, -0.05, -3.0, -0.11],
    "linear GLM, PyTorch, without the 33 % of trials that run away (specification)": [0.674, -0.35, 0.42, -5.2, -0.16, -11, -1.2],
    "hidden layer and couplings, PyTorch (specification)": [0.932, 0.69, 0.69, 0.69, 0.72, 0.62, 0.68],
}


def note(run, evaluation, record):
    run, found = pathlib.Path(run), json.loads(pathlib.Path(evaluation).read_text())
    manifest = json.loads((run / "manifest.json").read_text())
    report = found["reports"][0] if "reports" in found else found
    report["run"] = run.name
    out = {"fit": {**fit(run), "initial": manifest.get("initial")}, "report": report}
    if out["fit"]["initial"]:
        out["fit"]["initial"]["run"] = pathlib.Path(out["fit"]["initial"]["run"]).name
    if "differences" in found:
        out["differences"] = found["differences"][0]
    pathlib.Path(record).write_text(json.dumps(rounded(out), indent=1) + "\n")


def values(records, name):
    return [m for r in records for m in r["report"]["metrics"] if m["name"] == name]


def number(x):
    return f"{x:.3f}"


def row(name, cells):
    print("| " + " | ".join([name, *cells]) + " |")


def table(folder):
    records = {}
    for path in sorted(pathlib.Path(folder).glob("*_*.json")):
        records.setdefault(path.stem.rsplit("_", 1)[0], []).append(json.loads(path.read_text()))
    head = ["PSTH r"] + [f"NC R² {w} {k}" for w in WINDOWS for k in ("strict", "offset-free")]
    head += ["rate", "runaway", "bits/spike", "cross-entropy"]
    row("method", head)
    print("|" + "---|" * (len(head) + 1))
    for key in ("glm", "mle", "sm"):
        of = records.get(key, [])
        if not of:
            continue
        cells, intervals = [], []
        for metric in METRICS:
            found = values(of, metric)
            x = [m["value"] for m in found]
            digits = "{:.4f}" if metric == "cross_entropy" else "{:.3f}"
            spread = f" ± {digits.format(statistics.stdev(x))}" if len(x) > 1 else ""
            cells.append("–" if not x else digits.format(statistics.mean(x)) + spread)
            ci = [m["ci95"] for m in found if m["ci95"]]
            intervals.append(
                f"[{number(statistics.mean(c[0] for c in ci))}, {number(statistics.mean(c[1] for c in ci))}]" if ci else ""
            )
        row(f"{NAMES[key]} ({len(of)} seeds)" if len(of) > 1 else NAMES[key], cells)
        row("95 % interval", intervals)
    any_record = next(iter(records.values()))[0]
    of_data = [(m["ceiling_noiseless"], m["nulls"].get("training_noise_correlations")) for name in METRICS[:7] for m in values([any_record], name)]
    past = []
    for name, digits in (("bits_per_spike", 3), ("cross_entropy", 4)):
        found = [m["nulls"]["history_only"] for m in values([any_record], name) if "history_only" in m["nulls"]]
        past.append(f"{found[0]:.{digits}f}" if found else "–")
    row("history only (logistic regression)", ["–"] * 9 + past)
    row("the training trials' noise correlations", ["–"] + [number(n) if n is not None else "–" for _, n in of_data[1:]] + ["–"] * 4)
    row("ceiling (noiseless model)", [number(c) if c is not None else "–" for c, _ in of_data] + ["–"] * 4)
    for name, reference in REFERENCES.items():
        row(name, [str(x) for x in reference] + ["–"] * 4)
    print()
    for record in records.get("sm", []):
        shown = [d for d in record.get("differences", []) if "r2_offset_free_" in d["metric"] and d["ci95"]]
        text = ", ".join(f"{d['metric'].rsplit('_', 1)[1]} {d['value']:+.3f} [{d['ci95'][0]:+.3f}, {d['ci95'][1]:+.3f}]" for d in shown)
        print(f"- seed {record['fit']['seed']}: {text}")
    over_seeds = []
    for window in WINDOWS:
        name = f"noise_correlation_r2_offset_free_{window}"
        x = [d["value"] for record in records.get("sm", []) for d in record.get("differences", []) if d["metric"] == name]
        if len(x) > 1:
            half = T_95[min(len(x) - 1, 9)] * statistics.stdev(x) / math.sqrt(len(x))
            over_seeds.append(f"{window} {statistics.mean(x):+.3f} [{statistics.mean(x) - half:+.3f}, {statistics.mean(x) + half:+.3f}]")
    if over_seeds:
        print(f"- mean over seeds, 95 % (Student's t over seeds): {', '.join(over_seeds)}")
    for key, of in records.items():
        print(f"- {NAMES[key]}: {statistics.median(r['fit']['wall_s'] for r in of):.0f} s a fit (median)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["note"] and len(sys.argv) == 5:
        note(*sys.argv[2:])
    elif sys.argv[1:2] == ["table"] and len(sys.argv) == 3:
        table(sys.argv[2])
    else:
        sys.exit(__doc__)
