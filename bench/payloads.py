"""What reading a payload costs by its form: beside a loop over rows, and pandas.

Eight values, with the contract's checks, no features. One value in a hundred rows is out of range.
The loop and `Series.map` are what one writes: `json.loads`, a key for each value, a range. The
tight loop is the best of its kind: orjson, and no pandas.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.frame import Cost, Target, alternate, measure, medians, table, write_result
from breezeway.contract.contract import Contract

NAMES = ["temperature", "pressure", "flow", "speed", "torque", "current", "voltage", "level"]
LOWEST, HIGHEST = -1000.0, 1000.0
DISTINCT = 10_000
ROWS = 200_000
PEER_ROWS = 5_000
TIGHT_ROWS = 10_000
NULLS = ["NaN", "--"]

Values = list[float | None] | None

COMMON = ("numbers", "nested", "booleans", "delimited")
OTHERS = ("numbers in text", "null words", "other keys", "missing keys", "lists")
BOOLEANS = frozenset(NAMES[4:])


def contract(form: str) -> Contract:
    """The contract of payloads in that form."""
    lines = ['name = "bench"', "interval_seconds = 1", "[payload]"]
    lines += [f'format = "{"delimited" if form == "delimited" else "json"}"']
    lines += [f"null_values = {json.dumps(NULLS)}"] if form == "null words" else []
    for number, name in enumerate(NAMES):
        lines += [f"[fields.{name}]"]
        if form == "booleans" and name in BOOLEANS:
            lines += ['type = "bool"']
        else:
            lines += ['type = "float"', f"range = [{LOWEST}, {HIGHEST}]"]
        if form == "nested":
            lines += [f'path = "{_table(number)}.{name}"']
        if form == "lists":
            lines += [f"path = \"metrics[?@.name=='{name}'].value\""]
        if form in ("null words", "missing keys") and number:  # the first one can be out of range
            lines += ['invalid = "missing"']
    lines += ["[features]", "window = 1", "[features.reading]", f'x = "{NAMES[0]}"']
    lines += ["[label]", 'table = "labels"', "[alarm]", "false_episodes_per_day = 1"]
    return Contract.from_text("\n".join([*lines, "[split]", 'by = "time"']), "bench")


def _table(number: int) -> str:
    return "env" if number < 4 else "drive"


def payloads(form: str) -> list[str]:
    generator = np.random.default_rng(5)
    rows = np.round(generator.normal(50, 10, (DISTINCT, len(NAMES))), 3)
    chance = generator.random(rows.shape)
    rows[99::100, 0] = 9999
    return [
        _payload(form, row, odd, n) for n, (row, odd) in enumerate(zip(rows, chance, strict=True))
    ]


def _payload(form: str, row: np.ndarray, chance: np.ndarray, number: int) -> str:
    values: dict[str, Any] = dict(zip(NAMES, row.tolist(), strict=True))
    odd = {name for name, share in zip(NAMES[1:], chance[1:], strict=True) if share < 0.1}
    document: dict[str, Any] = values
    match form:
        case "delimited":
            return ";".join(map(str, values.values()))
        case "nested":
            document = {"env": {}, "drive": {}}
            for place, (name, value) in enumerate(values.items()):
                document[_table(place)][name] = value
        case "booleans":
            document = {n: v > 50 if n in BOOLEANS else v for n, v in values.items()}
        case "numbers in text":
            document = {name: str(value) for name, value in values.items()}
        case "null words":
            document = {n: NULLS[number % 2] if n in odd else v for n, v in values.items()}
        case "other keys":
            document = {"id": f"m-{number}", "seq": number, **values, "fw": "1.2.3"}
        case "missing keys":
            document = {name: value for name, value in values.items() if name not in odd}
        case "lists":
            document = {"metrics": [{"name": n, "value": v} for n, v in values.items()]}
    return json.dumps(document)


def values_of(form: str, payload: str, loads: Callable[[str], Any] = json.loads) -> Values:
    """The values of a payload, as a person would write it; None where it is bad."""
    try:
        if form == "delimited":
            found: Any = dict(zip(NAMES, map(float, payload.split(";")), strict=True))
        else:
            found = loads(payload)
        return _checked(form, found)
    except (ValueError, TypeError, KeyError):
        return None


def _checked(form: str, document: dict[str, Any]) -> Values:
    if form == "nested":
        document = document["env"] | document["drive"]
    elif form == "lists":
        document = {metric["name"]: metric["value"] for metric in document["metrics"]}
    values: list[float | None] = []
    for name in NAMES:
        value = document.get(name) if form == "missing keys" else document[name]
        if form == "numbers in text" or (form == "null words" and isinstance(value, str)):
            value = None if value in NULLS else float(value)
        if form == "booleans" and name in BOOLEANS:
            if not isinstance(value, bool):
                return None
        elif value is None and form in ("missing keys", "null words"):
            pass
        elif not isinstance(value, int | float) or not LOWEST <= value <= HIGHEST:
            return None
        values.append(value)
    return values


def ours(form: str, rows: int) -> Callable[[], list[int]]:
    from breezeway.preprocessing.payloads import PayloadParser

    column, parser = pa.array(payloads(form)), PayloadParser(contract(form))
    parser.parse(column[:2000])

    def work() -> list[int]:
        good = sum(int(parser.parse(column).good.sum()) for _ in range(rows // DISTINCT))
        return [good, rows - good]

    return work


def _counted(made: list[Values]) -> list[int]:
    good = np.array([values for values in made if values is not None], dtype=float)
    return [len(good), len(made) - len(good)]


def loop(form: str, rows: int) -> Callable[[], list[int]]:
    import pandas as pd

    frame = pd.DataFrame({"payload": payloads(form)[:rows]})
    return lambda: _counted([values_of(form, row["payload"]) for _, row in frame.iterrows()])


def series_map(form: str, rows: int) -> Callable[[], list[int]]:
    import pandas as pd

    series = pd.Series(payloads(form)[:rows])
    return lambda: _counted(series.map(lambda payload: values_of(form, payload)).tolist())


def tight_loop(form: str, rows: int) -> Callable[[], list[int]]:
    import orjson

    texts = payloads(form)[:rows]
    return lambda: _counted([values_of(form, text, orjson.loads) for text in texts])


CONTENDERS = {
    "ours": (ours, ROWS),
    "loop": (loop, PEER_ROWS),
    "Series.map": (series_map, PEER_ROWS),
    "tight loop": (tight_loop, TIGHT_ROWS),
}


def run(folder: Path) -> None:
    costs = {form: _measure(form) for form in (*COMMON, *OTHERS)}
    lines = [[form, *(f"{each[name]:.3g}" for name in CONTENDERS)] for form, each in costs.items()]
    print(table(["CPU µs a row", *CONTENDERS], lines))
    parts = [
        {
            "part": f"parse and check eight values; {form}",
            "ours": f"{each['ours']:.3g} µs",
            "peers": f"loop {each['loop']:.3g} µs, Series.map {each['Series.map']:.3g} µs, "
            f"orjson in a loop {each['tight loop']:.3g} µs",
            "floor": "-",
        }
        for form, each in costs.items()
    ]
    targets = [target for form in costs for target in _targets(form, costs[form])]
    packages = ["duckdb", "msgspec", "numpy", "orjson", "pandas", "pyarrow"]
    write_result(folder, "payloads", {"costs": costs, "parts": parts}, targets, packages)


def _measure(form: str) -> dict[str, float]:
    """CPU µs a row of each contender."""
    print(form, file=sys.stderr)

    def turn(work: Callable, rows: int) -> Callable[[], Cost]:
        return lambda: measure(work, form=form, rows=rows)

    found = alternate({name: turn(*each) for name, each in CONTENDERS.items()})
    costs = {}
    for name, (_, rows) in CONTENDERS.items():
        middle = medians(found[name])
        if middle.value[1] * 100 != rows:
            raise AssertionError(f"{name} of {form}: {middle.value[1]} of {rows} rows refused")
        costs[name] = middle.cpu / rows * 1e6
    return costs


def _targets(form: str, costs: dict[str, float]) -> list[Target]:
    of_loop, of_map = (50, 20) if form in COMMON else (5, 5)
    limit = costs["Series.map"] / of_map
    return [
        Target(
            f"{form}: times less CPU than the loop", of_loop, costs["loop"] / costs["ours"], True
        ),
        Target(
            f"{form}: times less CPU than Series.map",
            of_map,
            costs["Series.map"] / costs["ours"],
            True,
            f"it would have to take {limit:.2g} µs",
        ),
    ]
