"""The page that tells what benches found, of a run or published: `python -m bench.page RUN`."""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from bench import quality_page
from bench.frame import RESULTS, ROOT, SAME_MACHINE, picture

BENCHES = (
    "preprocess",
    "payloads",
    "publish",
    "training",
    "tune",
    "start",
    "cluster",
    "serving",
    "request",
    "drift",
    "quality",
)
"""In the order of the page; `QUALITY` has a page of its own."""
QUALITY = "quality"
DOCS = ROOT / "docs"
PAGE = "performance.md"
Results = dict[str, dict[str, Any]]
HEAD = """\
# What it costs

    make bench
    make bench ONLY=preprocess
    make bench ONLY="serving drift"
    make bench-publish RUN=bench/runs/20261128T101500Z

The first three commands install what they need and measure the parts of the pipeline, or only the
named ones. The results, and a page like this one, go to a new folder in `bench/runs`. The last
command replaces the figures of this page by those of a run.

Each part is compared with its usual alternative, and with the least that any program could take
(the floor). The contenders take turns, so other load on the machine affects all of them. Figures
are medians of five rounds, except for long measurements, which run once: `training`, `tune`, 10
million rows, the plain way, Ray tasks. CPU is that of all processes. Memory is the peak beyond what
was held at the start. Only `start` counts imports. All published figures are in `bench/results`,
one file for each bench, with the machine that they were measured on. A run shows how it differs
from them. Figures of two machines are never compared or put on one page.
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.page", description="Publish what a run of benches found."
    )
    parser.add_argument("run", type=Path, help="the folder of a run, such as bench/runs/…")
    publish(parser.parse_args().run, RESULTS, DOCS)


def publish(run: Path, published: Path, docs: Path) -> None:
    """Make the results and pictures of a run the published ones, and write the page anew.

    It may be run again, also after it was killed: the run's folder stays as it is.

    Args:
        run: the folder of a run.
        published: the folder of the published results; a bench that the run lacks stays.
        docs: the folder of the page and its pictures.

    Raises:
        SystemExit: the run holds no results, or the page would mix figures of two machines.
    """
    found = _read(run)
    if not found:
        sys.exit(f"{run} holds no results. Name the folder of a run, such as bench/runs/….")
    _refuse_two_machines(_read(published) | found)
    for name in found:
        shutil.copyfile(run / f"{name}.json", published / f"{name}.json")
        if picture(run, name).exists():
            shutil.copyfile(picture(run, name), picture(docs, name))
    write_page(published, docs)


def write_page(results: Path, folder: Path) -> None:
    """Write the pages of a folder's results to a folder, that of its pictures.

    Raises:
        SystemExit: the figures are of two machines.
    """
    found = _read(results)
    _refuse_two_machines(found)
    if quality := found.pop(QUALITY, None):
        quality_page.write(quality, folder)
    if not found:
        return
    sections = [HEAD, _machine(found), _table(found)]
    sections += [_section(name, found[name], folder) for name in BENCHES if name in found]
    (folder / PAGE).write_text("\n".join(sections), encoding="utf-8")


def _read(folder: Path) -> Results:
    """What each bench found, in the order of the page; of those that a folder has."""
    files = {name: folder / f"{name}.json" for name in BENCHES}
    return {
        name: json.loads(file.read_text(encoding="utf-8"))
        for name, file in files.items()
        if file.exists()
    }


def _refuse_two_machines(results: Results) -> None:
    of_machine: dict[str, list[str]] = {}
    for name in (
        each for each in results if each != QUALITY
    ):  # how good alarms are, the machine does not decide
        result = results[name]
        machine = ", ".join(f"{key} {result['machine'].get(key)}" for key in SAME_MACHINE)
        of_machine.setdefault(machine, []).append(name)
    if len(of_machine) > 1:
        told = "\n".join(f"  {', '.join(names)}: {of}" for of, names in of_machine.items())
        sys.exit(
            "Nothing is published, since one page would hold figures of different machines:\n"
            f"{told}\nMeasure all of them on one machine, in one run, and publish that."
        )


def _machine(results: Results) -> str:
    machine = next(iter(results.values()))["machine"]
    return (
        f"Measured on {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_gib']} GiB, {machine['system']}, Python {machine['python']}.\n"
    )


def _table(results: Results) -> str:
    lines = ["| part | Breezeway | instead | floor |", "|---|---|---|---|"]
    for result in results.values():
        for part in result.get("parts", []):
            cells = (part[key] for key in ("part", "ours", "peers", "floor"))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _section(name: str, result: dict[str, Any], folder: Path) -> str:
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
    if picture(folder, name).exists():
        lines += ["", f"![{name}]({picture(folder, name).name})"]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
