"""Records the steps of gpu.sh, writes its JSON file and prints its summary. Standard library only.

    gpu_report.py begin WORK OUT key=value ...
    gpu_report.py record WORK OUT NAME EXIT_CODE SECONDS LIMIT key=value ... -- COMMAND   reads WORK/stdout, WORK/stderr
    gpu_report.py summary WORK OUT
    gpu_report.py versions
"""
import json
import os
import platform
import re
import statistics
import sys
from datetime import datetime, timezone

from summarise import cpu_model, density_faults, heading, last_json, number, percent, row, version

SCHEMA = 1
TOLERANCE = 1e-2  # relative, of losses and densities: free runs part where a draw hits its probability
STEPS_COMPARED = 3
TAIL = 20  # lines of stderr kept of a step that failed

STEP_MS = 100.0  # targets
OVER_TORCH = 2.0
OVER_JAX = 1.0
SIX_AREA_MS = 150.0


def read_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def options_of(arguments):
    return dict(argument.split("=", 1) for argument in arguments)


def load(work):
    header = json.loads(read_text(os.path.join(work, "header.json")))
    lines = read_text(os.path.join(work, "steps.ndjson")).splitlines()
    return header, [json.loads(line) for line in lines]


def begin(work, out, options):
    header = {
        "schema": SCHEMA,
        "started": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "options": {key: options.pop(key) for key in ("device", "baseline_device", "scale", "parts")},
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count(), **options},
    }
    with open(os.path.join(work, "header.json"), "w", encoding="utf-8") as file:
        json.dump(header, file)
    write(work, out)


def training_of(run):
    """Losses and times of the steps of a run directory."""
    steps = {}
    for line in read_text(os.path.join(run, "events.ndjson")).splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # the last line of a killed process
        if event.get("event") == "step":
            steps[event["step"]] = event
    ordered = [steps[i] for i in sorted(steps)]
    if not ordered:
        return None
    # The first two steps compile kernels and fill caches.
    later = [b["wall_s"] - a["wall_s"] for a, b in zip(ordered[1:], ordered[2:])] or \
        [b["wall_s"] - a["wall_s"] for a, b in zip(ordered, ordered[1:])]
    manifest = last_json(read_text(os.path.join(run, "manifest.json"))) or {}
    return {
        "commit": manifest.get("commit"),
        "steps": [{"step": e["step"], "wall_s": e["wall_s"], "losses": e["losses"], "grad_norm": e["grad_norm"]}
                  for e in ordered],
        "first_step_s": ordered[0]["wall_s"],
        "step_s": statistics.median(later) if later else None,
        "n_timed": len(later),
    }


def record(work, out, name, code, seconds, limit, rest):
    at = rest.index("--")
    options, command = options_of(rest[:at]), rest[at + 1:]
    entry = {"name": name, **{key: value for key, value in options.items() if key not in ("run", "reason")}}
    if code == "skipped":
        entry["skipped"] = options["reason"]
        note = None
    else:
        entry.update(rc=int(code), seconds=round(float(seconds), 3), limit_s=int(limit))
        note = f"{entry['seconds']:.1f} s"
        text, errors = (read_text(os.path.join(work, stream)) for stream in ("stdout", "stderr"))
        result = last_json(text)
        if isinstance(result, dict):
            entry["result"] = result
            if isinstance(result.get("total_s"), float):
                note += f", {1e3 * result['total_s']:.4g} ms per step, spikes {percent(result['spike_fraction'])}"
        elif text.strip():
            entry["stdout"] = text.strip()[-4000:]
        if entry["rc"] != 0:
            entry["stderr"] = [line[:400] for line in errors.splitlines() if line.strip()][-TAIL:]
            entry["is_timeout"] = entry["rc"] in (124, 137)
            note += " TIMED OUT" if entry["is_timeout"] else f" FAILED with exit code {entry['rc']}"
            if entry["stderr"]:
                note += f": {gist(entry['stderr'])}"
        if "run" in options:
            training = training_of(options["run"])
            entry["training"] = training
            if training and training["step_s"]:
                note += f", {1e3 * training['step_s']:.4g} ms per step"
    # The folder of this call means nothing elsewhere.
    entry["command"] = [part.replace(work, "WORK") for part in command]
    with open(os.path.join(work, "steps.ndjson"), "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    if note:
        print(f"gpu: {name}: {note}", flush=True)
    write(work, out)


def gist(lines):
    """The line of a failed program's stderr that says most: its error, else its last."""
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    return (errors or lines or [""])[-1].strip()[:200]


def relative(a, b):
    """Difference relative to the second, None where there is none."""
    if a is None or b is None:
        return None
    return abs(a - b) / abs(b) if b else (0.0 if a == b else None)


def is_close(differences):
    return all(d is not None and d < TOLERANCE for d in differences)


def compare_benches(steps):
    """The same workload on the processor and on the device."""
    pairs = {}
    for step in steps:
        if step.get("part") == "checks":
            side = "cpu" if step["device"] == "cpu" else "device"
            pairs.setdefault((step["case"], step["seed"]), {})[side] = step.get("result")
    rows = []
    for (case, seed), sides in pairs.items():
        cpu, device = sides.get("cpu"), sides.get("device")
        entry = {"size": case, "seed": seed, "cpu": bool(cpu), "device": bool(device)}
        if cpu and device:
            entry["loss_difference"] = relative(device["loss"], cpu["loss"])
            entry["density_difference"] = relative(device["spike_fraction"], cpu["spike_fraction"])
            entry["densities"] = [cpu["spike_fraction"], device["spike_fraction"]]
            entry["agrees"] = is_close([entry["loss_difference"], entry["density_difference"]])
        rows.append(entry)
    return rows


def compare_training(steps):
    """The first steps of the quick start on the processor and on the device."""
    sides = {}
    for step in steps:
        if step.get("part") == "train" and step["case"] == "quickstart":
            sides["cpu" if step["device"] == "cpu" else "device"] = step.get("training")
    if not (sides.get("cpu") and sides.get("device")):
        return None
    rows = []
    for cpu, device in list(zip(sides["cpu"]["steps"], sides["device"]["steps"]))[:STEPS_COMPARED]:
        losses = {name: relative(device["losses"].get(name), value) for name, value in cpu["losses"].items()}
        rows.append({"step": cpu["step"], "loss_differences": losses,
                     "gradient_norm_difference": relative(device["grad_norm"], cpu["grad_norm"])})
    differences = [d for entry in rows for d in entry["loss_differences"].values()]
    return {"steps": rows, "agrees": len(rows) == STEPS_COMPARED and is_close(differences)}


def label_of(step):
    if step["program"] == "snnfit":
        return f"snnfit, {step['noise']}"
    return f"{step['program']}, {step['precision']}"


def collect_times(steps):
    """case -> program -> its measurements; only those that gave a result."""
    cases = {}
    for step in steps:
        if step.get("part") in ("speed", "sizes"):
            case = cases.setdefault(step["case"], {"size": step["size"], "programs": {}})
            result = step.get("result")
            if step.get("rc") == 0 and isinstance(result, dict) and isinstance(result.get("total_s"), (int, float)):
                case["programs"].setdefault(label_of(step), []).append(result)
    for case in cases.values():
        programs = case["programs"]
        densities = {name: [r["spike_fraction"] for r in results] for name, results in programs.items()}
        case["refused"] = density_faults(densities)
        for name, results in programs.items():
            programs[name] = {
                "step_ms": 1e3 * statistics.median(r["total_s"] for r in results),
                "forward_ms": 1e3 * statistics.median(r["forward_s"] for r in results),
                "runs_ms": [1e3 * r["total_s"] for r in results],
                "spike_fraction": results[0]["spike_fraction"],
                "device": results[0]["device"],
            }
        ours = programs.get("snnfit, philox")
        if ours and not case["refused"]:
            case["ratios_to_snnfit_philox"] = {name: p["step_ms"] / ours["step_ms"]
                                               for name, p in programs.items() if p is not ours}
    return cases


def targets_of(case, training):
    programs = case["programs"] if case and not case["refused"] else {}
    ours = programs.get("snnfit, philox", {}).get("step_ms")

    def over(name):
        theirs = programs.get(name, {}).get("step_ms")
        return theirs / ours if theirs and ours else None

    entries = [
        ("snnfit, ms per step", ours, f"≤ {STEP_MS:g}", lambda x: x <= STEP_MS),
        ("PyTorch eager / snnfit, float32", over("torch, float32"), f"≥ {OVER_TORCH:g}", lambda x: x >= OVER_TORCH),
        ("JAX / snnfit, float32", over("jax, float32"), f"≥ {OVER_JAX:g}", lambda x: x >= OVER_JAX),
    ]
    six = [1e3 * run["step_s"] for run in training if run["case"] == "six-area" and run["step_s"]]
    entries.append(("six areas, soft matching, `snnfit train`, ms per step", six[0] if six else None,
                    f"≤ {SIX_AREA_MS:g}", lambda x: x <= SIX_AREA_MS))
    return [{"what": what, "value": value, "target": target, "met": None if value is None else holds(value)}
            for what, value, target, holds in entries]


def document(work):
    header, steps = load(work)
    machine = dict(header["machine"])
    for step in steps:
        if step.get("part") == "machine":
            answer = step.get("result", step.get("stdout"))
            if step["name"] == "nvidia-smi" and step.get("rc") != 0:
                answer = None
            machine[step["name"]] = answer
    cases = collect_times(steps)
    training = [{"case": s["case"], "device": s["device"], "rc": s.get("rc"),
                 **{key: (s.get("training") or {}).get(key) for key in ("step_s", "first_step_s", "n_timed", "commit")}}
                for s in steps if s.get("part") == "train"]
    spent = sum(s.get("seconds", 0) for s in steps)
    return {
        **header,
        "machine": machine,
        "seconds_in_steps": round(spent, 1),
        "n_failed": sum(s.get("rc", 0) != 0 for s in steps),
        "n_skipped": sum("skipped" in s for s in steps),
        "checks": {"tolerance": TOLERANCE, "benches": compare_benches(steps), "training": compare_training(steps)},
        "times": cases,
        "training": training,
        "targets": targets_of(cases.get("main"), training),
        "steps": steps,
    }


def write(work, out):
    content = document(work)
    part = f"{out}.part"
    with open(part, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")
    os.replace(part, out)
    return content


def yes_no(value):
    return {True: "yes", False: "NO", None: "–"}[value]


def optional(value):
    return "–" if value is None else f"{value:.1e}"


def summary(work, out):
    content = write(work, out)
    machine, options = content["machine"], content["options"]
    versions = machine.get("versions") or {}
    print(f"- {content['started']}: {machine.get('nvidia-smi') or 'no NVIDIA GPU'}; {machine['cpu']}, "
          f"{machine['cores']} cores, {machine['threads']} threads; "
          f"manifest of the Vulkan driver: {machine['vulkan_manifest']}")
    commits = {run["commit"] for run in content["training"] if run["commit"]}
    print(f"- {machine.get('snnfit --version') or 'snnfit?'}, built from {', '.join(sorted(commits)) or 'unknown'}; "
          + ", ".join(f"{name} {value or 'none'}" for name, value in versions.items()))
    print(f"- snnfit on {options['device']}, baselines on {options['baseline_device']}, scale {options['scale']}; "
          f"{content['n_failed']} steps failed, {content['n_skipped']} skipped\n")
    if options["scale"] != "full" or options["device"] == "cpu" or options["baseline_device"] != "cuda":
        print("**A test of the script: the times say nothing.**\n")
    print_checks(content["checks"])
    for name, case in content["times"].items():
        print_case(name, case)
    print_training(content["training"])
    print("Targets, `--noise philox`, N, K, T, D, gain = "
          f"{(content['times'].get('main') or {}).get('size', '–').replace(' ', ', ')}:\n")
    heading("", "measured", "target", "")
    for entry in content["targets"]:
        verdict = {True: "met", False: "missed", None: "not measured"}[entry["met"]]
        row(entry["what"], "–" if entry["value"] is None else number(entry["value"]), entry["target"], verdict)
    print()
    bad = [step for step in content["steps"] if step.get("rc", 0) != 0 or "skipped" in step]
    for step in bad:
        if "skipped" in step:
            print(f"- {step['name']}: skipped: {step['skipped']}")
        else:
            reason = f"no end within {step['limit_s']} s" if step["is_timeout"] else f"exit code {step['rc']}"
            said = gist(step["stderr"])
            print(f"- {step['name']}: {reason}{': ' if said else ''}{said}")


def print_checks(checks):
    if checks["benches"]:
        print(f"Processor and device, relative differences (tolerance {checks['tolerance']:g}):\n")
        heading("N/K/T/D/gain", "seed", "loss", "density", "agrees")
        for entry in checks["benches"]:
            row(entry["size"], entry["seed"], optional(entry.get("loss_difference")),
                optional(entry.get("density_difference")), yes_no(entry.get("agrees")))
        print()
    if checks["training"]:
        heading("step of the quick start", "losses", "gradient norm")
        for entry in checks["training"]["steps"]:
            row(str(entry["step"]), ", ".join(f"{k} {optional(v)}" for k, v in entry["loss_differences"].items()),
                optional(entry["gradient_norm_difference"]))
        print(f"\nAgrees: {yes_no(checks['training']['agrees'])}\n")


def print_case(name, case):
    if not case["programs"]:
        return
    print(f"### {name}: N, K, T, D, gain = {case['size'].replace(' ', ', ')}\n")
    if case["refused"]:
        print(f"Refused: {'; '.join(case['refused'])}.\n")
        return
    heading("", "ms per step", "forward, ms", "spikes", "times snnfit, philox", "device")
    for program, result in case["programs"].items():
        ratio = case.get("ratios_to_snnfit_philox", {}).get(program)
        row(program, number(result["step_ms"]), number(result["forward_ms"]), percent(result["spike_fraction"]),
            "" if ratio is None else number(ratio), result["device"])
    print()


def print_training(runs):
    if not runs:
        return
    heading("`snnfit train`", "device", "ms per step", "first step, ms", "steps timed")
    for run in runs:
        times = [run["step_s"], run["first_step_s"]]
        times = ["–" if t is None else number(1e3 * t) for t in times]
        row(run["case"], run["device"], *times, str(run["n_timed"] or 0))
    print()


def main():
    arguments = sys.argv[1:]
    if arguments[:1] == ["versions"]:
        names = ("torch", "triton", "jax", "jaxlib", "numpy")
        print(json.dumps({"python": platform.python_version(), **{name: version(name) for name in names}}))
    elif arguments[:1] == ["begin"] and len(arguments) >= 3:
        begin(arguments[1], arguments[2], options_of(arguments[3:]))
    elif arguments[:1] == ["record"] and len(arguments) >= 8:
        record(*arguments[1:7], arguments[7:])
    elif arguments[:1] == ["summary"] and len(arguments) == 3:
        summary(*arguments[1:])
    else:
        print(__doc__.strip())
        sys.exit(2)


if __name__ == "__main__":
    main()
