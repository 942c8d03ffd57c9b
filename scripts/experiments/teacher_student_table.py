#!/usr/bin/env python3
"""What teacher_student.sh evaluated: one small file for each run, and the table of docs/RESULTS.md.

usage: teacher_student_table.py note RUN EVALUATION COUPLINGS RECORD
       teacher_student_table.py table RECORDS

A row for each method and number of hidden neurons: mean over seeds and, from three seeds on, its 95 % interval (Student's t). Couplings are those between different visible
neurons, log-odds: summed over lags, and at lag 1.
"""

import json
import math
import pathlib
import statistics
import sys

from methods_table import T_95
from record import rounded

METHODS = {
    "mle": "maximum likelihood",
    "sm": "sample-and-measure",
    "mle_norate": "maximum likelihood, hidden rates free",
    "sm_norate": "sample-and-measure, hidden rates free",
}
METRICS = {
    "noise_correlation_r2_40ms": "NC R² 40 ms",
    "noise_correlation_r2_200ms": "NC R² 200 ms",
    "psth_correlation": "PSTH r",
    "bits_per_spike": "bits per spike",
    "runaway_fraction": "runaway",
}
# Table S4 of Bellec, Wang et al. 2021, another teacher: NC R² and connectivity R² by hidden neurons.
PUBLISHED = {0: (0.95, -0.95), 10: (0.96, 0.50), 200: (0.97, 0.59), 400: (0.95, 0.62)}


def note(run, evaluation, couplings, record):
    run = pathlib.Path(run)
    manifest = json.loads((run / "manifest.json").read_text())
    report = json.loads(pathlib.Path(evaluation).read_text())
    found = json.loads(pathlib.Path(couplings).read_text())
    events = [json.loads(line) for line in (run / "events.ndjson").read_text().splitlines()]
    best = [event["step"] for event in events if event["event"] == "validation" and event["is_best"]]
    out = {
        "fit": {
            "version": manifest["version"],
            "commit": manifest["commit"],
            "seed": manifest["seed"],
            "best_step": best[-1] if best else None,
            "test_openings": manifest["test_openings"],
        },
        "metrics": [
            {key: m[key] for key in ("name", "value", "ci95", "nulls", "ceiling_noiseless", "n") if key in m}
            for m in report["metrics"]
        ],
        "comparisons": found["comparisons"],
    }
    pathlib.Path(record).write_text(json.dumps(rounded(out), indent=1) + "\n")


def coupling(record, lags, key):
    for row in record["comparisons"]:
        if row["pairs"] == "different" and row["lags"] == lags and row["lag_ms"] in (None, 40.0):
            return row[key]
    return None


def shown(values):
    values = [v for v in values if v is not None]
    if not values:
        return "–"
    mean = statistics.mean(values)
    if len(values) < 3:
        return f"{mean:.3f}"
    half = T_95[min(len(values) - 1, 9)] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.3f} [{mean - half:.3f}, {mean + half:.3f}]"


def row(cells):
    print("| " + " | ".join(cells) + " |")


def table(folder):
    records = {}
    for path in sorted(pathlib.Path(folder).glob("*_*_*.json")):
        method, n, _ = path.stem.rsplit("_", 2)
        records.setdefault((list(METHODS).index(method), int(n)), []).append(json.loads(path.read_text()))
    if not records:
        sys.exit(f"{folder}: no records")
    head = ["method", "hidden", "seeds", "R² summed", "r summed", "R² lag 1", "r lag 1", *METRICS.values()]
    row(head)
    print("|" + "---|" * len(head))
    for (method, n), of in sorted(records.items()):
        cells = [list(METHODS.values())[method], str(n), str(len(of))]
        for lags in ("sum", "one"):
            cells += [shown([coupling(r, lags, key) for r in of]) for key in ("r2", "pearson")]
        for name in METRICS:
            cells.append(shown([m["value"] for r in of for m in r["metrics"] if m["name"] == name]))
        row(cells)
    any_of = next(iter(records.values()))[0]
    base = {lags: next(c for c in any_of["comparisons"] if c["pairs"] == "different" and c["lags"] == lags) for lags in ("sum", "one")}
    for name in sorted(base["sum"]["baselines"]):
        cells = [f"baseline: {name.replace('_', ' ')}", "", ""]
        for lags in ("sum", "one"):
            cells += [shown([base[lags]["baselines"][name][key]]) for key in ("r2", "pearson")]
        row(cells + ["–"] * len(METRICS))
    for name, key in (("the training trials in the model's place", "nulls"), ("ceiling (noiseless model)", "ceiling_noiseless")):
        metrics = {m["name"]: m.get(key) for m in any_of["metrics"]}
        of = [metrics.get(metric) for metric in METRICS]
        of = [value.get("training_noise_correlations") if isinstance(value, dict) else value for value in of]
        row([name, "", ""] + ["–"] * 4 + [shown([value]) for value in of])
    for n, (nc, connectivity) in PUBLISHED.items():
        row(["published (another teacher)", str(n), "", f"{connectivity:.2f}", "–", "–", "–", f"{nc:.2f}"] + ["–"] * (len(METRICS) - 1))


if __name__ == "__main__":
    if len(sys.argv) == 6 and sys.argv[1] == "note":
        note(*sys.argv[2:])
    elif len(sys.argv) == 3 and sys.argv[1] == "table":
        table(sys.argv[2])
    else:
        sys.exit(__doc__)
