#!/usr/bin/env python3
"""Tables of what methods.sh noted, as Markdown.

usage: methods_table.py RECORDS METHOD ...

A row for each method: mean over seeds and standard deviation, or the value and its 95 % interval for one seed. Below them what
stands in the model's place (means over all runs, which share recording and split): training trials, the ceiling, null models.
Seconds are those of a step, where RECORDS/seconds.json has them (methods.sh with TIME=1). The last two columns are the published
figures (Sourmpis et al. 2023, stored logs): trial-matched correlation of training batches, and the share of hits. A second table
compares each method with hard matching, seed by seed.
"""

import json
import math
import pathlib
import statistics
import sys

METRICS = [
    "psth_pearson",
    "trial_matched_pearson",
    "hit_fraction",
    "mode_silhouette",
    "peak_rate_wasserstein",
    "feature_variance_ratio",
    "feature_variance_ratio_within_type",
    "fano_ratio",
    "noise_correlation_mean",
    "noise_correlation_r",
]
PUBLISHED = {
    "none": ("0.836", "0.983"),
    "hard": ("0.907", "0.812"),
    "soft_published": ("0.907", "0.787"),
    "gan": ("0.901", "0.804"),
    "likelihood": ("0.860", "0.904"),
}
# Two-sided 95 % quantiles of Student's t, by degrees of freedom.
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def number(value):
    return "–" if value is None else f"{value:.3f}"


def spread(values):
    if len(values) < 2:
        return "–" if not values else number(values[0])
    return f"{number(statistics.mean(values))} ± {number(statistics.stdev(values))}"


def cell(metrics):
    """Mean and standard deviation over seeds, or value and interval of one."""
    found = [metric for metric in metrics if metric is not None]
    if len(found) == 1:
        interval = found[0].get("ci95")
        return number(found[0]["value"]) + (f" [{number(interval[0])}, {number(interval[1])}]" if interval else "")
    return spread([metric["value"] for metric in found])


def beside(records, name, pick):
    """Mean over all runs of what stands beside a metric."""
    values = [pick(record[name]) for record in records if name in record]
    values = [value for value in values if value is not None]
    return number(statistics.mean(values)) if values else "–"


def difference(ours, hard):
    """Mean and 95 % interval (Student's t) of the difference to hard matching over the seeds that both have."""
    seeds = sorted(set(ours) & set(hard))
    differences = [ours[seed] - hard[seed] for seed in seeds]
    if len(differences) < 2:
        return "–"
    mean = statistics.mean(differences)
    half = T_95[min(len(differences) - 1, 9)] * statistics.stdev(differences) / math.sqrt(len(differences))
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def main():
    folder, methods = pathlib.Path(sys.argv[1]), sys.argv[2:]
    runs = {}
    for method in methods:
        for path in sorted(folder.glob(f"{method}_[0-9]*.json")):
            record = json.loads(path.read_text())
            found = {metric["name"]: metric for metric in record["metrics"]["metrics"]}
            runs.setdefault(method, {})[path.stem.rsplit("_", 1)[1]] = (record["fit"], found)
    if not runs:
        sys.exit(f"{folder} has no record")
    timed = folder / "seconds.json"
    seconds = json.loads(timed.read_text()) if timed.exists() else {}
    seconds = {method: of["s_a_step"] for method, of in seconds.items()}
    rows = []
    for method, of in runs.items():
        cells = [cell([found.get(name) for _, found in of.values()]) for name in METRICS]
        rows.append([method, str(len(of)), *cells, number(seconds.get(method)), *PUBLISHED.get(method, ("–", "–"))])
    every = [found for of in runs.values() for _, found in of.values()]
    data = [beside(every, f"{name}_data", lambda metric: metric["value"]) for name in METRICS]
    rows.append(["recorded", "–", *data, "–", "–", "–"])
    for title, key in (("training trials in the model's place", "reference_train_test"), ("ceiling", "ceiling_noiseless")):
        cells = [beside(every, name, lambda metric: metric.get(key)) for name in METRICS]
        rows.append([title, "–", *cells, "–", "–", "–"])
    for null in sorted({null for found in every for name in METRICS for null in found.get(name, {}).get("nulls") or {}}):
        cells = [beside(every, name, lambda metric: (metric.get("nulls") or {}).get(null)) for name in METRICS]
        rows.append([f"null: {null}", "–", *cells, "–", "–", "–"])
    head = ["method", "seeds", *(f"`{name}`" for name in METRICS), "s a step", "published correlation", "published hits"]
    table(head, rows)
    if "hard" in runs and len(runs) > 1:
        def values(method, name):
            return {seed: found[name]["value"] for seed, (_, found) in runs[method].items() if name in found}

        rows = [
            [method, *(difference(values(method, name), values("hard", name)) for name in METRICS)]
            for method in runs
            if method != "hard"
        ]
        table(["less hard", *(f"`{name}`" for name in METRICS)], rows)


if __name__ == "__main__":
    main()
