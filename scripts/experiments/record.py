#!/usr/bin/env python3
"""What a finished fit reached, as one small JSON file: kept beside the tables of docs/RESULTS.md, which are made of it.

usage: record.py RUN FILE

Taken over: version, commit, seed, steps, wall time, last losses from the run's manifest.json and events.ndjson, metrics.json
as it is but for findings and what only the report draws, couplings.json, and perturbation-AREA.json without single neurons.
Numbers are rounded to six digits.
"""

import json
import pathlib
import sys

LEFT_OUT = {"findings", "feature_variance", "neurons", "baseline", "perturbed", "argv"}


def read(path):
    return json.loads(path.read_text()) if path.exists() else None


def rounded(value, left_out=()):
    """Numbers with six digits, without what stands under the keys `left_out`, but for labels."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [rounded(of, left_out) for of in value]
    if isinstance(value, dict):
        return {key: rounded(of, left_out) for key, of in value.items() if key not in left_out or isinstance(of, str)}
    return value


def fit(run):
    """Who fitted it, how long, and where it ended; wall time is each process's time stamp of its last step that counts."""
    manifest = read(run / "manifest.json")
    wall_s, step, losses = [], 0, None
    for line in (run / "events.ndjson").read_text().splitlines():
        event = json.loads(line)
        if event.get("event") == "start":
            wall_s.append(0.0)
        elif event.get("event") == "step" and wall_s:
            wall_s[-1], step, losses = event["wall_s"], event["step"], event.get("losses")
    return {
        **{key: manifest.get(key) for key in ("version", "commit", "seed", "device", "threads", "test_openings")},
        "steps": max(step, manifest["attempts"][-1].get("last_step") or 0),
        "wall_s": sum(wall_s),
        "last_losses": losses,
    }


def main():
    run, file = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    record = {"schema": 1, "fit": fit(run), "metrics": read(run / "metrics.json")}
    if (run / "couplings.json").exists():
        record["couplings"] = read(run / "couplings.json")
    for path in sorted(run.glob("perturbation-*.json")):
        record.setdefault("perturbations", {})[path.stem.split("-", 1)[1]] = read(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(file.name + ".new")
    new.write_text(json.dumps(rounded(record, LEFT_OUT), indent=1, ensure_ascii=False) + "\n")
    new.replace(file)


if __name__ == "__main__":
    main()
