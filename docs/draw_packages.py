"""Draws docs/packages.svg: which package imports which, as the code says today.

    .venv/bin/python docs/draw_packages.py

An arrow that others imply is left out: where `steps` reaches `core` through `pipeline`, its own
arrow to `core` is not drawn. What stands on a package stands above it.
"""

import sys
from pathlib import Path
from xml.sax.saxutils import escape

import grimp
import networkx as nx

FILE = Path(__file__).with_name("packages.svg")
BOX_WIDTH, BOX_HEIGHT = 132, 32
COLUMN, ROW, MARGIN = 150, 84, 12
TOP = "breezeway_airflow"

STYLE = """\
text { font: 14px sans-serif; text-anchor: middle; dominant-baseline: central; fill: #1b2733; }
rect { fill: #eaf2f8; stroke: #4a7194; }
.top rect { fill: #f6efe2; stroke: #a5843f; }
path { fill: none; stroke: #7b8a97; stroke-width: 1.3; marker-end: url(#head); }
svg { background: #fff; }"""


def imports() -> nx.DiGraph:
    """An edge for each package that imports another."""
    code = grimp.build_graph("breezeway", TOP, cache_dir=None)
    found = nx.DiGraph()
    for module in sorted(code.modules):
        for imported in sorted(code.find_modules_directly_imported_by(module)):
            above, below = _package(module), _package(imported)
            if above and below and above != below:
                found.add_edge(above, below)
    return found


def _package(module: str) -> str:
    """The package of a module; empty for `breezeway` itself."""
    top, _, rest = module.partition(".")
    return TOP if top == TOP else rest.partition(".")[0].replace("__main__", "cli")


def _levels(graph: nx.DiGraph) -> dict[str, int]:
    """How many packages stand below each, along the longest way down."""
    level: dict[str, int] = {}
    for name in reversed(list(nx.lexicographical_topological_sort(graph))):
        level[name] = 1 + max((level[below] for below in graph[name]), default=-1)
    return level


def _bend(graph: nx.DiGraph, level: dict[str, int]) -> dict[tuple[str, str], list[str]]:
    """A place in each level that an arrow passes, so that it goes round the boxes there.

    Returns:
        Arrow → its places, from box to box. The graph and the levels get them too.
    """
    ways = {}
    for above, below in list(graph.edges):
        passed = range(level[above] - 1, level[below], -1)
        places = [above, *(f"{above}>{below}@{number}" for number in passed), below]
        level |= dict(zip(places[1:-1], passed, strict=True))
        graph.remove_edge(above, below)
        nx.add_path(graph, places)
        ways[above, below] = places
    return ways


def _columns(graph: nx.DiGraph, level: dict[str, int]) -> dict[str, float]:
    """Where each stands in its level: near what it is tied to, with the fewest crossings tried."""
    rows: list[list[str]] = [[] for _ in range(max(level.values()) + 1)]
    for name in sorted(graph):
        rows[level[name]].append(name)
    place = {name: float(number) for row in rows for number, name in enumerate(row)}
    for _ in range(24):
        for row in (*rows, *reversed(rows)):
            pull = {
                name: sum(place[other] for other in nx.all_neighbors(graph, name))
                / graph.degree(name)
                for name in row
            }
            row.sort(key=lambda name: (pull[name], name))
            place |= {name: number - (len(row) - 1) / 2 for number, name in enumerate(row)}
    return place


def picture() -> str:
    """The picture as SVG text."""
    graph = nx.transitive_reduction(imports())
    level = _levels(graph)
    boxes = sorted(level)
    ways = _bend(graph, level)
    column = _columns(graph, level)
    left, lowest = min(column.values()), max(level.values())
    at = {
        name: (
            MARGIN + BOX_WIDTH / 2 + (column[name] - left) * COLUMN,
            MARGIN + BOX_HEIGHT / 2 + (lowest - level[name]) * ROW,
        )
        for name in graph
    }
    width = max(x for x, _ in at.values()) + BOX_WIDTH / 2 + MARGIN
    height = max(y for _, y in at.values()) + BOX_HEIGHT / 2 + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img">',
        "<title>The packages of Breezeway; an arrow goes from one that imports another</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 1 7 4 0 7z" '
        'style="fill:#7b8a97;stroke:none;marker-end:none"/></marker></defs>',
    ]
    lines += [_arrow([at[name] for name in places]) for _, places in sorted(ways.items())]
    for name in boxes:
        x, y = at[name]
        kind = ' class="top"' if name == TOP else ""
        lines.append(
            f'<g{kind}><rect x="{x - BOX_WIDTH / 2:.0f}" y="{y - BOX_HEIGHT / 2:.0f}" '
            f'width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="4"/>'
            f'<text x="{x:.0f}" y="{y:.0f}">{escape(name)}</text></g>'
        )
    return "\n".join([*lines, "</svg>", ""])


def _arrow(points: list[tuple[float, float]]) -> str:
    """A smooth line through the middle of each place, from under a box to the top of another."""
    (x, y), *rest = points
    y += BOX_HEIGHT / 2
    drawn = f"M{x:.0f} {y:.0f}"
    for number, (to_x, to_y) in enumerate(rest, start=1):
        end = to_y - BOX_HEIGHT / 2
        middle = (y + end) / 2
        drawn += f" C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {end:.0f}"
        y = end
        if number < len(rest):
            y = to_y + BOX_HEIGHT / 2
            drawn += f" V{y:.0f}"
        x = to_x
    return f'<path d="{drawn}"/>'


if __name__ == "__main__":
    FILE.write_text(picture(), encoding="utf-8")
    print(f"{FILE} is drawn.", file=sys.stderr)
