#!/usr/bin/env python3
"""Tables of scripts/experiments/six_area.sh, as Markdown: one column for each seed.

usage: six_area_table.py OUT SEED ...
"""

import json
import pathlib
import sys


def number(value, digits=3):
    return "–" if value is None else f"{value:.{digits}f}"


def interval(pair):
    return "" if pair is None else f" [{number(pair[0])}, {number(pair[1])}]"


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def read(path):
    return json.loads(path.read_text()) if path.exists() else None


def metric_rows(runs):
    """Trial types, and correlations with what stands beside them."""
    found = [{m["name"]: m for m in run["metrics"]["metrics"]} for run in runs]
    names = [name for name in found[0] if name.startswith(("type_fraction/", "type_fraction_threshold/"))]
    names += ["psth_pearson", "trial_matched_pearson", "peak_rate_wasserstein", "firing_rate_wasserstein"]
    names += ["feature_variance_ratio", "feature_variance_ratio_within_type", "fano_ratio", "noise_correlation_r"]
    for name in names:
        cells = []
        for metrics in found:
            m = metrics.get(name)
            cells.append("–" if m is None else number(m["value"]) + interval(m.get("ci95")))
        m = found[0].get(name) or {}
        data = found[0].get(name.replace("type_fraction_threshold/", "type_fraction/").replace("type_fraction/", "type_fraction_data/"))
        data = number(data["value"]) + interval(data.get("ci95")) if data and "type_fraction" in name else ""
        nulls = m.get("nulls") or {}
        yield [name, *cells, data, number(m.get("reference_train_test")), number(m.get("ceiling_noiseless")),
               ", ".join(number(v) for v in nulls.values())]


def coupling_rows(runs):
    keys = []
    for run in runs:
        for c in run["couplings"]["correlations"]:
            key = (c["level"], c["from_type"], c["areas"], c["sessions"])
            if key not in keys:
                keys.append(key)
    for key in keys:
        cells = []
        for run in runs:
            of = {(c["level"], c["from_type"], c["areas"], c["sessions"]): c for c in run["couplings"]["correlations"]}
            c = of.get(key)
            cells.append("–" if c is None else number(c["pearson"]) + interval(c["ci95"]))
        yield [*key, *cells, interval((of.get(key) or {}).get("null95")).strip()]


def perturbation_rows(runs, area):
    for p, period in enumerate(runs[0][area]["against"]["periods"]):
        for i, first in enumerate(period["correlations"]):
            cells = [number(run[area]["against"]["periods"][p]["correlations"][i]["pearson"])
                     + interval(run[area]["against"]["periods"][p]["correlations"][i]["ci95"]) for run in runs]
            beside = f"ceiling {number(first['ceiling_noiseless'])}, rate {number(first['null_rate'])}"
            yield [f"Δ rate, pearson, {period['name']}, {first['neurons']}", *cells, beside]
    for i, first in enumerate(runs[0][area]["against"]["type_fractions"]):
        cells = [number(run[area]["against"]["type_fractions"][i]["predicted"]) for run in runs]
        yield [f"Δ share of {first['name']} by {first['by']}", *cells,
               f"recorded {number(first['recorded'])}{interval(first['recorded_ci95'])}"]


def main():
    out, seeds = pathlib.Path(sys.argv[1]), sys.argv[2:]
    runs, kept = [], []
    areas = sorted({path.stem.split("-")[1] for path in out.glob("*/perturbation-*.json")})
    for seed in seeds:
        run = {"metrics": read(out / seed / "metrics.json"), "couplings": read(out / seed / "couplings.json")}
        run |= {area: read(out / seed / f"perturbation-{area}.json") for area in areas}
        if all(run.values()):
            runs.append(run)
            kept.append(seed)
    if not runs:
        sys.exit("no run is evaluated")
    columns = [f"seed {seed}" for seed in kept]
    table(["metric", *columns, "recorded", "train–test", "ceiling", "nulls"], metric_rows(runs))
    table(["level", "from", "areas", "sessions", *columns, "permuted"], coupling_rows(runs))
    for area in areas:
        print(f"{area} silenced\n")
        table(["", *columns, "beside it"], perturbation_rows(runs, area))


main()
