"""One Markdown table of the evaluations that methods.sh wrote.

    python3 scripts/experiments/methods_table.py OUT SEEDS METHOD...

A row for each method: mean over seeds and standard deviation, or the value and its 95 % interval for one seed. Below them
what stands in the model's place: training trials, the ceiling, null models. The last two columns are the published figures
(Sourmpis et al. 2023, stored logs): trial-matched correlation of training batches, and the share of hits.
"""
import json
import sys
from pathlib import Path

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


def seconds(run: Path) -> float:
    """Wall time of a fit: each process's time stamp of its last step that counts, summed."""
    elapsed = []
    for line in (run / "events.ndjson").read_text().splitlines():
        event = json.loads(line)
        if event.get("event") == "start":
            elapsed.append(0.0)
        elif event.get("event") == "step" and elapsed:
            elapsed[-1] = event["wall_s"]
    return sum(elapsed)


def cell(metric: dict | None) -> str:
    """Mean and standard deviation over seeds, or value and interval of one."""
    if metric is None:
        return "–"
    if "mean" not in metric:
        interval = metric.get("ci95")
        return f"{metric['value']:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
    spread = metric.get("sd")
    return f"{metric['mean']:.3f}" + ("" if spread is None else f" ± {spread:.3f}")


def main() -> None:
    out, seeds, methods = Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3:]
    columns = [f"`{name}`" for name in METRICS]
    print("| method | seeds | " + " | ".join(columns) + " | seconds | published correlation | published hits |")
    print("|---" * (len(METRICS) + 5) + "|")
    reference: dict = {}
    for method in methods:
        path = out / f"{method}.json"
        if not path.exists():
            continue
        report = json.loads(path.read_text())
        found = {metric["name"]: metric for metric in report["metrics"]}
        runs = [out / f"{method}_{seed}" for seed in seeds]
        runs = [run for run in runs if any(run.glob("metrics*.json"))]
        times = sorted(seconds(run) for run in runs)
        cells = [cell(found.get(name)) for name in METRICS] + [f"{times[len(times) // 2]:.0f}" if times else "–"]
        cells += PUBLISHED.get(method, ("–", "–"))
        print(f"| {method} | {len(runs)} | " + " | ".join(cells) + " |")
        reference = reference or found
    rows = {"training trials in the model's place": "reference_train_test", "ceiling": "ceiling_noiseless"}
    for title, key in rows.items():
        values = [reference.get(name, {}).get(key) for name in METRICS]
        print(f"| {title} | – | " + " | ".join("–" if v is None else f"{v:.3f}" for v in values) + " | – | – | – |")
    nulls = sorted({null for name in METRICS for null in (reference.get(name, {}).get("nulls") or {})})
    for null in nulls:
        values = [(reference.get(name, {}).get("nulls") or {}).get(null) for name in METRICS]
        cells = " | ".join("–" if v is None else f"{v:.3f}" for v in values)
        print(f"| null: {null} | – | {cells} | – | – | – |")


if __name__ == "__main__":
    main()
