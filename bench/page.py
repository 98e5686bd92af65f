"""The page that tells what all benches found: `docs/performance.md`, made of `bench/results`."""

import json
import sys
from typing import Any

from bench.frame import RESULTS, ROOT, SAME_MACHINE

PAGE = ROOT / "docs" / "performance.md"
HEAD = """\
# What it costs

    make bench
    make bench ONLY=preprocess
    make bench ONLY="serving drift"

installs what it needs and measures the parts of the pipeline, or what is named: each beside what
one would take instead and beside the least that any program could do (the floor). Contenders take
turns, so that what else the machine does meets all of them; figures are medians of five rounds, but
what takes long runs once: `training`, `tune`, 10 million rows, the plain way, Ray tasks. CPU is
that of all processes, memory what was held at a time beyond the start; imports are counted by
`start` and nowhere else. All figures of the last run, and on what it ran, are in `bench/results`,
one file a bench; a run tells how it differs from the one before, and refuses to compare itself with
another machine's.
"""


def write_page(names: list[str]) -> None:
    """Write the page of the results of these benches, as far as there are any.

    Ends the program where they come from different machines.
    """
    results = {
        name: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for name in names
        if (RESULTS / f"{name}.json").exists()
    }
    machines = {
        name: {key: result["machine"].get(key) for key in SAME_MACHINE}
        for name, result in results.items()
    }
    if len({json.dumps(machine) for machine in machines.values()}) > 1:
        told = "; ".join(f"{name}: {machine}" for name, machine in machines.items())
        sys.exit(f"{PAGE.name} is not written, since its figures are of several machines: {told}")
    sections = [HEAD, _machine(results), _table(results)]
    sections += [_section(name, result) for name, result in results.items()]
    PAGE.write_text("\n".join(sections), encoding="utf-8")


def _machine(results: dict[str, dict[str, Any]]) -> str:
    machine = next(iter(results.values()))["machine"]
    return (
        f"Measured on {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_gib']} GiB, {machine['system']}, Python {machine['python']}.\n"
    )


def _table(results: dict[str, dict[str, Any]]) -> str:
    lines = ["| part | Breezeway | instead | floor |", "|---|---|---|---|"]
    for result in results.values():
        for part in result.get("parts", []):
            cells = (part[key] for key in ("part", "ours", "peers", "floor"))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _section(name: str, result: dict[str, Any]) -> str:
    lines = [f"## {name}", "", "| | wanted | reached | |", "|---|---:|---:|---|"]
    for target in result.get("targets", []):
        bound = "≥" if target["at_least"] else "≤"
        verdict = "met" if target["met"] else "**not met**"
        if not target["met"] and target["why"]:
            verdict += f": {target['why']}"
        lines.append(
            f"| {target['what']} | {bound} {target['wanted']:g} | {target['reached']:.3g} "
            f"| {verdict} |"
        )
    for part, functions in result.get("profiles", {}).items():
        lines += ["", f"Where the time of `{part}` goes, CPU µs a row under a profiler:", ""]
        lines += ["| function | itself | with what it calls |", "|---|---:|---:|"]
        lines += [f"| `{called}` | {own:.2f} | {all_:.2f} |" for called, own, all_ in functions]
    if processes := result.get("processes"):
        lines += ["", "CPU-s of its processes, their start included:", ""]
        lines += ["| process | CPU-s |", "|---|---:|"]
        lines += [f"| `{kind}` | {seconds:.1f} |" for kind, seconds in processes.items()]
    picture = f"{name}-bench.png"
    if (PAGE.parent / picture).exists():
        lines += ["", f"![{name}]({picture})"]
    return "\n".join([*lines, ""])
