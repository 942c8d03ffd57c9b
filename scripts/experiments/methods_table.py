"""One Markdown table of the aggregated evaluations that methods.sh wrote: mean over seeds, with the standard deviation.

    python3 scripts/experiments/methods_table.py OUT METHOD...
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
]


def seconds(run: Path) -> float:
    """Wall time of a fit: the time stamp of its last step."""
    last = 0.0
    for line in (run / "events.ndjson").read_text().splitlines():
        event = json.loads(line)
        last = max(last, event.get("wall_s", 0.0)) if event.get("event") == "step" else last
    return last


def main() -> None:
    out, methods = Path(sys.argv[1]), sys.argv[2:]
    print("| method | " + " | ".join(f"`{name}`" for name in METRICS) + " | seconds |")
    print("|---" * (len(METRICS) + 2) + "|")
    reference = None
    for method in methods:
        report = json.loads((out / f"{method}.json").read_text())
        found = {metric["name"]: metric for metric in report["metrics"]}
        cells = []
        for name in METRICS:
            metric = found.get(name)
            if metric is None:
                cells.append("–")
            elif "mean" in metric:
                cells.append(f"{metric['mean']:.3f} ± {metric['sd'] or 0.0:.3f}")
            else:
                cells.append(f"{metric['value']:.3f}")
        times = [seconds(run) for run in sorted(out.glob(f"{method}_[0-9]*"))]
        cells.append(f"{sum(times) / max(len(times), 1):.0f}")
        print(f"| {method} | " + " | ".join(cells) + " |")
        reference = reference or found
    row = []
    for name in METRICS:
        value = (reference or {}).get(name, {}).get("reference_train_test")
        row.append("–" if value is None else f"{value:.3f}")
    print("| training data in the model's place | " + " | ".join(row) + " | – |")


if __name__ == "__main__":
    main()
