#!/usr/bin/env python3
"""Tables of what six_area.sh noted, as Markdown: one column for each seed.

usage: six_area_table.py RECORDS
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


def metric_rows(runs):
    """Trial types, and correlations with what stands beside them."""
    found = [{m["name"]: m for m in run["metrics"]["metrics"]} for run in runs]
    shares = ("type_fraction/", "type_fraction_classifier/", "type_fraction_threshold/", "session_type_fraction/")
    names = [name for of in shares for name in found[0] if name.startswith(of)]
    names += ["psth_pearson", "trial_matched_pearson", "peak_rate_wasserstein", "firing_rate_wasserstein"]
    names += ["energy_distance", "feature_variance_ratio", "feature_variance_ratio_within_type", "population_variance_ratio"]
    names += [name for name in found[0] if name.startswith("behaviour_variance_ratio/")]
    names += [name for name in found[0] if name.startswith("active_fraction") and "_data" not in name]
    names += ["fano_ratio", "noise_correlation_r"]
    for name in names:
        cells = []
        for metrics in found:
            m = metrics.get(name)
            cells.append("–" if m is None else number(m["value"]) + interval(m.get("ci95")))
        m = found[0].get(name) or {}
        recorded = name.replace("_classifier/", "/").replace("_threshold/", "/").replace("fraction/", "fraction_data/")
        recorded = "active_fraction_data" if name == "active_fraction" else recorded
        data = found[0].get(recorded)
        data = number(data["value"]) + interval(data.get("ci95")) if data and "fraction" in name else ""
        nulls = m.get("nulls") or {}
        yield [name, *cells, data, number(m.get("reference_train_test")), number(m.get("ceiling_noiseless")),
               ", ".join(f"{null} {number(v)}" for null, v in nulls.items())]


def union(lists):
    keys = []
    for found in lists:
        keys += [key for key in found if key not in keys]
    return keys


def coupling_rows(runs):
    found = [{(c["level"], c["from_type"], c["areas"], c["sessions"]): c for c in run["couplings"]["correlations"]}
             for run in runs]
    for key in union(found):
        cells = []
        for of in found:
            c = of.get(key)
            cells.append("–" if c is None else f"{number(c['pearson'])}{interval(c['ci95'])}; {interval(c['null95']).strip()}")
        yield [*key, *cells]


def perturbation_rows(runs, area):
    against = [run["perturbations"][area]["against"] for run in runs]
    changes = [{(p["name"], c["neurons"]): c for p in of["periods"] for c in p["correlations"]} for of in against]
    for key in union(changes):
        cells = []
        for of in changes:
            c = of.get(key)
            cells.append("–" if c is None else f"{number(c['pearson'])}{interval(c['ci95'])}; rate {number(c['null_rate'])}")
        first = next(of[key] for of in changes if key in of)
        yield [f"Δ rate, pearson, {key[0]}, {key[1]}", *cells, f"ceiling {number(first['ceiling_noiseless'])}"]
    shares = [{(f["name"], f["by"]): f for f in of["type_fractions"]} for of in against]
    for key in union(shares):
        cells = [number(of[key]["predicted"]) if key in of else "–" for of in shares]
        first = next(of[key] for of in shares if key in of)
        recorded = f"recorded {number(first['recorded'])}{interval(first['recorded_ci95'])}"
        yield [f"Δ share of {key[0]} by {key[1]}", *cells, recorded]


def main():
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.json"), key=lambda path: int(path.stem))
    if not paths:
        sys.exit(f"{sys.argv[1]} has no record")
    runs = [json.loads(path.read_text()) for path in paths]
    columns = [f"seed {path.stem}" for path in paths]
    table(["metric", *columns, "recorded", "train–test", "ceiling", "nulls"], metric_rows(runs))
    table(["level", "from", "areas", "sessions", *(f"{column}; permuted" for column in columns)], coupling_rows(runs))
    for area in sorted({area for run in runs for area in run["perturbations"]}):
        print(f"{area} silenced\n")
        table(["", *columns, "beside it"], perturbation_rows(runs, area))
    fits = [run["fit"] for run in runs]
    rows = [["steps", *(str(fit["steps"]) for fit in fits)], ["hours", *(number(fit["wall_s"] / 3600, 2) for fit in fits)]]
    table(["fit", *columns], rows)


main()
