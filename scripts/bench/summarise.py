"""Collects the results of compare.sh and prints them as Markdown. Standard library only.

    summarise.py facts FILE key=value ...          starts FILE with what is known of the machine, and prints it
    summarise.py add FILE key=value ... < RESULT   appends one result; exit code 3: the case is refused
    summarise.py table [--no-facts] FILE           prints the tables; exit code 1: a case was refused
"""
import json
import os
import platform
import statistics
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata

DENSITY = (0.005, 0.10)  # spikes per trial, step and neuron: a silent network or one that always fires is cheap for us
DENSITY_RATIO = 4 / 3  # largest quotient of two programs' densities: they differ in the numbers drawn alone
QUOTABLE = 5  # rounds
STRETCH = 5.0  # of JAX's CPU seconds, in every case, where ours are not exact

NAMES = {"snnfit": "snnfit", "snnfit-philox": "snnfit, `--noise philox`", "jax": "JAX", "torch": "PyTorch"}

# At least so many times our CPU seconds (JAX, PyTorch); at most this share of JAX's peak memory.
TARGETS = {
    "artificial": (2.7, 3.5, 1 / 4),
    "recorded": (3.2, 4.5, 1 / 5),
    "large": (4.0, 5.0, 1 / 4),
    "spike-history": (4.0, 5.0, 1 / 4),
}


def percent(value):
    return f"{100 * value:.2f} %"


def density_faults(densities):
    """Why the times of programs with these spike densities must not be compared; `densities`: program -> values."""
    faults = []
    for program, values in densities.items():
        for value in values:
            if not DENSITY[0] <= value <= DENSITY[1]:
                faults.append(f"{program} has a spike density of {percent(value)}, "
                              f"outside {100 * DENSITY[0]:g}–{100 * DENSITY[1]:g} %")
                break
    every = [(value, program) for program, values in densities.items() for value in values]
    if not faults and every:
        (low, sparse), (high, dense) = min(every), max(every)
        if high > DENSITY_RATIO * low:
            faults.append(f"the spike densities of {sparse} ({percent(low)}) and {dense} ({percent(high)}) differ by "
                          "more than a third")
    return faults


def last_json(text):
    """The JSON document that `text` is, or its last line; None if there is none."""
    lines = [line for line in text.splitlines() if line.strip()]
    for candidate in [text] + lines[-1:]:
        try:
            return json.loads(candidate)
        except ValueError:
            continue
    return None


def git(root, *arguments):
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_model():
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine_facts(options):
    root = options.pop("root")
    changes = git(root, "status", "--porcelain")
    return {
        **options,
        "measured": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "commit": git(root, "rev-parse", "--short=12", "HEAD"),
        "clean": None if changes is None else not changes,
        "python": platform.python_version(),
        "torch": version("torch"),
        "jax": version("jax"),
        "jaxlib": version("jaxlib"),
    }


def print_facts(facts):
    clean = {True: "clean", False: "with changes that are not committed", None: "state unknown"}[facts["clean"]]
    programs = facts["programs"].split()
    print(f"- {facts['measured']}: {facts['cpu']}, {facts['cores']} cores; load average before the first run "
          + ", ".join(f"{load:.2f}" for load in facts["load"]))
    print(f"- threads of each program: {facts['threads']}")
    print(f"- repository: {facts['commit'] or 'no commit'}, {clean}; "
          f"{facts['snnfit']}, built from {facts['built_from']}")
    print(f"- Python {facts['python']}, torch {facts['torch'] or 'none'}, jax {facts['jax'] or 'none'}, "
          f"jaxlib {facts['jaxlib'] or 'none'}")
    print(f"- rounds: {facts['rounds']}, of {', '.join(programs)}, in an order that rotates; each the median of "
          f"{facts['reps']} repetitions after a warm-up")
    if facts["flags"]:
        print(f"- snnfit also with `{facts['flags']}`")
    left_out = [NAMES[program] for program in ("jax", "torch") if program not in programs]
    if left_out:
        print(f"- left out: {', '.join(left_out)}")
    print(flush=True)


def read(path):
    facts, results = None, []
    with open(path, encoding="utf-8") as file:
        for line in file:
            entry = json.loads(line)
            if "facts" in entry:
                facts = entry["facts"]
            else:
                results.append(entry)
    if facts is None:
        sys.exit(f"summarise: {path} has no line of facts")
    return facts, results


def append(path, entry, mode="a"):
    with open(path, mode, encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def densities_of(results):
    densities = {}
    for result in results:
        densities.setdefault(result["program"], []).append(result["spike_fraction"])
    return densities


def add(path, options):
    result = last_json(sys.stdin.read())
    where = f"{options['program']} in case {options['case']}, round {options['round']}"
    if not isinstance(result, dict):
        sys.exit(f"compare: {where}: no JSON on stdout")
    for key in ("total_s", "cpu_s", "peak_rss_mib", "spike_fraction"):
        if not isinstance(result.get(key), (int, float)) or not result[key] >= 0:
            sys.exit(f"compare: {where}: '{key}' is {result.get(key)!r}, expected a number")
    n, k, t, d, gain = options["size"].split()
    result.update(case=options["case"], round=int(options["round"]), program=options["program"],
                  n=int(n), k=int(k), t=int(t), d=int(d), gain=float(gain))
    append(path, result)
    print(f"compare: round {options['round']} {options['case']} {options['program']}: {result['total_s']:.4g} s, "
          f"CPU {result['cpu_s']:.4g} s, peak {result['peak_rss_mib']:.0f} MiB, "
          f"spikes {percent(result['spike_fraction'])}")
    _, results = read(path)
    faults = density_faults(densities_of([r for r in results if r["case"] == options["case"]]))
    if faults:
        print(f"compare: case {options['case']} refused: {'; '.join(faults)}. Its other runs are left out")
        sys.exit(3)


def number(value):
    """Three digits, without an exponent where that is readable."""
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def row(*cells):
    print("| " + " | ".join(cells) + " |")


def heading(*cells):
    row(*cells)
    print("|" + "---|" * len(cells))


class Case:
    """The results of one case."""

    def __init__(self, name, results, facts):
        self.name, self.results, self.facts = name, results, facts
        self.by_round = {(r["program"], r["round"]): r for r in results}
        self.rounds = sorted({r["round"] for r in results})
        self.programs = [p for p in NAMES if any(r["program"] == p for r in results)]

    def values(self, program, key):
        return [r[key] for r in self.results if r["program"] == program]

    def ratios(self, above, below, key):
        pairs = [(self.by_round.get((above, i)), self.by_round.get((below, i))) for i in self.rounds]
        return [a[key] / b[key] for a, b in pairs if a and b and b[key] > 0]

    def print(self):
        first = self.results[0]
        print(f"### {self.name}: N = {first['n']}, K = {first['k']}, T = {first['t']}, D = {first['d']}, "
              f"gain {first['gain']:g}\n")
        faults = density_faults(densities_of(self.results))
        if faults:
            print(f"Refused: {'; '.join(faults)}.\n")
            return False
        self.print_medians()
        self.print_ratios()
        self.print_error()
        self.print_floor(first)
        return True

    def print_medians(self):
        heading("median", "wall s", "CPU s", "peak MiB", "spikes")
        for program in self.programs:
            wall, cpu, peak, density = (statistics.median(self.values(program, key))
                                        for key in ("total_s", "cpu_s", "peak_rss_mib", "spike_fraction"))
            row(NAMES[program], number(wall), number(cpu), f"{peak:.0f}", percent(density))
        print()

    def print_ratios(self):
        jax, torch, memory = TARGETS.get(self.name, (None, None, None))
        heading("ratio in a round", "median", "min–max", "target", "", "with philox", "min–max")
        self.print_ratio("CPU s, JAX / snnfit", "jax", "cpu_s", jax)
        self.print_ratio("CPU s, PyTorch / snnfit", "torch", "cpu_s", torch)
        self.print_ratio("wall s, JAX / snnfit", "jax", "total_s", None)
        self.print_ratio("wall s, PyTorch / snnfit", "torch", "total_s", None)
        self.print_ratio("peak memory, snnfit / JAX", "jax", "peak_rss_mib", memory, is_inverse=True)
        print()

    def print_ratio(self, label, baseline, key, target, is_inverse=False):
        if baseline not in self.facts["programs"].split():
            return
        cells = []
        verdict = ("", "")
        for ours in ("snnfit", "snnfit-philox"):
            ratios = self.ratios(ours, baseline, key) if is_inverse else self.ratios(baseline, ours, key)
            if not ratios:
                cells.append(("–", "–"))
                continue
            median = statistics.median(ratios)
            cells.append((number(median), f"{number(min(ratios))}–{number(max(ratios))}"))
            if ours == "snnfit" and self.gradient_errors() and key == "cpu_s" and baseline == "jax":
                verdict = (f"stretch {STRETCH:g}", "reached" if median >= STRETCH else "not reached")
            elif ours == "snnfit" and target is not None and not self.gradient_errors():
                is_met = median <= target if is_inverse else median >= target
                bound = f"≤ 1/{round(1 / target)}" if is_inverse else f"≥ {target:g}"
                verdict = (bound, "met" if is_met else "missed")
        row(label, *cells[0], *verdict, *cells[1])

    def gradient_errors(self):
        """Errors of the gradient that snnfit reports where its engine is not exact."""
        return [r["gradient_error"] for r in self.results if r.get("gradient_error") is not None]

    def print_error(self):
        errors = self.gradient_errors()
        if errors:
            print(f"Not exact, so not judged by the targets: error of snnfit's gradient {min(errors):.1e}–"
                  f"{max(errors):.1e} of its norm.\n")

    def print_floor(self, size):
        flop = 2 * size["k"] * size["t"] * size["d"] * size["n"] ** 2
        floor = flop / (float(self.facts["gflops"]) * 1e9)
        text = (f"Floor of a dense gradient: 2·K·T·D·N² = {flop:.3g} flop, at {self.facts['gflops']} GFLOP/s per core "
                f"{floor:.3g} CPU s")
        cpu = self.values("snnfit", "cpu_s")
        if cpu and statistics.median(cpu) > 0:
            text += f", {100 * floor / statistics.median(cpu):.0f} % of snnfit's {number(statistics.median(cpu))}"
        print(text + ".\n")


def table(path, has_facts):
    facts, results = read(path)
    if has_facts:
        print_facts(facts)
    is_ok = True
    cases = {}
    for result in results:
        cases.setdefault(result["case"], []).append(result)
    n_rounds = []
    for name, of_case in cases.items():
        case = Case(name, of_case, facts)
        if case.print():
            n_rounds.append(min(len(case.values(program, "cpu_s")) for program in case.programs))
        else:
            is_ok = False
    if n_rounds and min(n_rounds) < QUOTABLE:
        print(f"**Rounds: {min(n_rounds)}, fewer than {QUOTABLE}. Not to be quoted.**")
    if not is_ok:
        print("compare: a case was refused, see above", file=sys.stderr)
        sys.exit(1)


def main():
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__.strip())
        sys.exit(0 if arguments else 2)
    command, rest = arguments[0], arguments[1:]
    if command == "table":
        has_facts = "--no-facts" not in rest
        rest = [argument for argument in rest if argument != "--no-facts"]
        if len(rest) == 1:
            return table(rest[0], has_facts)
    elif command in ("facts", "add") and rest and all("=" in argument for argument in rest[1:]):
        options = dict(argument.split("=", 1) for argument in rest[1:])
        if command == "add":
            return add(rest[0], options)
        facts = machine_facts(options)
        append(rest[0], {"facts": facts}, "x")
        return print_facts(facts)
    sys.exit("summarise: see summarise.py --help")


if __name__ == "__main__":
    main()
