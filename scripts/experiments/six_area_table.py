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


def badness(name):
    """How far a value of a metric is from the right one."""
    if "pearson" in name or name == "noise_correlation_r":
        return lambda value: -value
    if "wasserstein" in name or name == "energy_distance":
        return lambda value: value
    if "ratio" in name:
        return lambda value: abs(value - 1.0)
    # Shares: null models are made type by type, with the recorded ones.
    return None


def span(values, digits=3):
    """A value of each seed, as they differ by the trials drawn."""
    values = [value for value in values if value is not None]
    if not values:
        return ""
    low, high = number(min(values), digits), number(max(values), digits)
    return low if low == high else f"{low} to {high}"


def metric_rows(runs):
    """Trial types, and correlations with what stands beside them. Worse than the best null model of the same seed: †."""
    found = [{m["name"]: m for m in run["metrics"]["metrics"]} for run in runs]
    shares = ("type_fraction/", "type_fraction_classifier/", "type_fraction_threshold/", "session_type_fraction/")
    names = [name for of in shares for name in found[0] if name.startswith(of)]
    names += ["psth_pearson", "trial_matched_pearson", "peak_rate_wasserstein", "firing_rate_wasserstein"]
    names += ["energy_distance", "feature_variance_ratio", "feature_variance_ratio_within_type", "population_variance_ratio"]
    names += [name for name in found[0] if name.startswith("behaviour_variance_ratio/")]
    names += [name for name in found[0] if name.startswith("active_fraction") and "_data" not in name]
    names += ["fano_ratio", "noise_correlation_r"]
    for name in names:
        recorded = name.replace("_classifier/", "/").replace("_threshold/", "/").replace("fraction/", "fraction_data/")
        recorded = {"active_fraction": "active_fraction_data",
                    "active_fraction_published": "active_fraction_published_data"}.get(name, recorded)
        data = [of.get(recorded) if "fraction" in name else None for of in found]
        cells, references, ceilings, nulls = [], [], [], []
        for metrics in found:
            m = metrics.get(name)
            if m is None:
                cells.append("–")
                continue
            of = badness(name)
            values = [v for v in (m.get("nulls") or {}).values() if v is not None]
            best = min(values, key=of) if values and of else None
            mark = " †" if best is not None and of(m["value"]) > of(best) else ""
            cells.append(number(m["value"]) + interval(m.get("ci95")) + mark)
            references.append(m.get("reference_train_test"))
            ceilings.append(m.get("ceiling_noiseless"))
            nulls.append(best)
        data = [d for d in data if d]
        # The recorded value is the same for all seeds, its interval up to its resamples.
        recorded = number(data[0]["value"]) + interval(data[0].get("ci95")) if data else ""
        yield [name, *cells, recorded, span(references), span(ceilings), span(nulls)]


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
    shares = [{f"Δ share of {f['name']} by {f['by']}": f for f in of["type_fractions"]} for of in against]
    # Of the window in which it is silenced.
    window = [next(p for p in of["periods"] if p["name"] == "window") for of in against]
    rates = [{f"Δ rate of {f['name']}, Hz": f for f in of["rates_hz"]} for of in window]
    behaviour = [{f"Δ {f['name']}": f for f in of["behaviour"]} for of in window]
    for changes in (shares, rates, behaviour):
        for key in union(changes):
            cells = [number(of[key]["predicted"]) if key in of else "–" for of in changes]
            first = next(of[key] for of in changes if key in of)
            recorded = f"recorded {number(first['recorded'])}{interval(first['recorded_ci95'])}"
            yield [key, *cells, recorded]


def main():
    paths = sorted(pathlib.Path(sys.argv[1]).glob("*.json"), key=lambda path: int(path.stem))
    if not paths:
        sys.exit(f"{sys.argv[1]} has no record")
    runs = [json.loads(path.read_text()) for path in paths]
    columns = [f"seed {path.stem}" for path in paths]
    table(["metric", *columns, "recorded", "training trials", "ceiling", "best null"], metric_rows(runs))
    table(["level", "from", "areas", "sessions", *(f"{column}; permuted" for column in columns)], coupling_rows(runs))
    for area in sorted({area for run in runs for area in run["perturbations"]}):
        print(f"{area} silenced\n")
        table(["", *columns, "beside it"], perturbation_rows(runs, area))
    fits = [run["fit"] for run in runs]
    rows = [["steps", *(str(fit["steps"]) for fit in fits)], ["hours", *(number(fit["wall_s"] / 3600, 2) for fit in fits)]]
    table(["fit", *columns], rows)


main()
