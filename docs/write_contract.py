"""Writes docs/contract.md and docs/contract.schema.json from the models of a contract.

    .venv/bin/python docs/write_contract.py

The words are those of the models' docstrings. Each key has an example here; a test validates it.
"""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, UnionType
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel, TypeAdapter

from breezeway.contract import alarm, contract, detector, feature_sections, files, schema, source

PAGE = Path(__file__).with_name("contract.md")
SCHEMA = Path(__file__).with_name("contract.schema.json")

EXAMPLES = {
    "name": '"pump"',
    "description": '"Pumps of hall 3"',
    "owner": '"maintenance"',
    "tags": '["hall-3"]',
    "time_zone": '"Europe/Berlin"',
    "interval_seconds": "60",
    "device_pattern": '"pump-[0-9]+"',
    "payload.format": '"json"',
    "payload.separator": '";"',
    "payload.quote": "'\"'",
    "payload.decimal": '","',
    "payload.thousands": '"."',
    "payload.null_values": '["", "NaN", "--", -9999]',
    "payload.readings": '"Messages[*]"',
    "payload.records": '"[*]"',
    "payload.senml": "true",
    "payload.time_path": '"Timestamp"',
    "payload.time_format": '"epoch ms"',
    "payload.time_zone": '"Europe/Berlin"',
    "payload.device_path": '"$.gateway.name"',
    "fields.NAME.type": '"float"',
    "fields.NAME.unit": '"°C"',
    "fields.NAME.path": "\"metrics[?@.name=='Temp'].value\"",
    "fields.NAME.range": "[-20, 150]",
    "fields.NAME.invalid": '"missing"',
    "fields.NAME.null_values": "[85.0, 65535]",
    "fields.NAME.carry_forward_seconds": "3600",
    "fields.NAME.true_values": '["OPEN"]',
    "fields.NAME.false_values": '["CLOSED"]',
    "fields.NAME.twos_complement": "16",
    "fields.NAME.scale": "0.1",
    "fields.NAME.offset": "-40",
    "fields.NAME.categories": '["idle", "run", 3]',
    "fields.NAME.quality.path": '"Temp.StatusCode"',
    "fields.NAME.quality.good_values": '[0, "Good"]',
    "fields.NAME.quality.required": "false",
    "fields.NAME.length": "[4, 64]",
    "fields.NAME.batch": "{ mean = [20, 90] }",
    "fields.NAME.batch.null_share": "0.1",
    "fields.NAME.batch.mean": "[20, 90]",
    "files.format": '"csv"',
    "files.encoding": '"latin-1"',
    "files.separator": '";"',
    "files.quote": '"\'"',
    "files.decimal": '","',
    "files.thousands": '"."',
    "files.skip_rows": "3",
    "files.names": '["Zeit", "Temperatur"]',
    "files.units_row": "true",
    "files.comment": '"#"',
    "files.skip_words": '["Total", "Summe"]',
    "files.short_rows": "true",
    "files.device": '"{folder}/{file}"',
    "files.device_column": '"Asset"',
    "files.time_column": '["Datum", "Uhrzeit"]',
    "files.time_format": '"%d.%m.%Y %H:%M:%S"',
    "files.time_zone": '"Europe/Berlin"',
    "files.first_time": "2020-01-01T00:00:00Z",
    "files.payload_column": '"message"',
    "files.columns": '{ temperature = "Motor Temp (°C)" }',
    "files.tag_column": '"tag"',
    "files.value_column": '"reading"',
    "files.null_words": '["---", -9999]',
    "files.label_column": '"Status"',
    "files.label_required": "false",
    "files.faults": '["Attack", "1"]',
    "files.normal": '["Normal"]',
    "files.normal_files": '["anomaly-free/*"]',
    "source.table": '"hall.measurements"',
    "source.query": '"SELECT * FROM measurements WHERE hall = 3"',
    "source.device": '"press-1"',
    "source.device_column": '"asset"',
    "source.time_column": '"ts"',
    "source.time_format": '"epoch ms"',
    "source.time_zone": '"Europe/Berlin"',
    "source.id_column": '"seq"',
    "source.payload_column": '"message"',
    "source.columns": '{ temperature = "temp_c" }',
    "source.label_column": '"is_fault"',
    "features.auto": "true",
    "features.window": "30",
    "features.max_gap_seconds": "600",
    "features.rate_per": '"second"',
    "features.reading": '{ power = "torque * speed * 0.10472", idle = "1 if speed < 5 else 0" }',
    "features.baseline.readings": "120",
    "features.baseline.since": "2026-01-01",
    "features.residual.given": '["power", "rotational_speed"]',
    "features.residual.of": '["temperature_mean", "vibration_rms_mean"]',
    "features.rolling": '{ power = ["mean", "std:10min", "slope:10", "zscore:60:5"] }',
    "label.column": '"label"',
    "label.table": '"labels"',
    "alarm.false_episodes_per_day": "0.2",
    "alarm.max_alarm_share": "0.02",
    "alarm.missed_event_cost": "5000",
    "alarm.false_episode_cost": "200",
    "alarm.delay_cost": "10",
    "alarm.maximize": '"f1"',
    "alarm.mean_readings": "5",
    "alarm.on_delay_readings": "2",
    "alarm.release": "0.5",
    "alarm.hold_readings": "10",
    "split.by": '"time"',
    "split.folds": "5",
    "split.holdout": '"7d"',
    "detector.families": '["boosted trees", "logistic regression"]',
    "train.window": '"90d"',
    "train.schedule": '"0 4 * * 1"',
    "train.every_days": "14",
    "train.every_labels": "20",
    "train.refit": "true",
    "train.monotone": '{ tool_wear = "increasing" }',
    "quarantine.max_share": "0.05",
    "gate.max_loss": "0.02",
    "gate.approval": "true",
    "canary.error_level": "0.05",
    "canary.min_predictions": "500",
    "canary.max_error_increase": "0.01",
    "canary.max_latency_ratio": "2.0",
    "canary.max_score_shift": "0.2",
    "canary.max_precision_loss": "0.1",
    "canary.max_disagreements": "0.05",
    "drift.false_alarms_per_month": "0.5",
    "drift.nights": "3",
    "drift.confirmations": "1",
    "drift.retrain": "true",
    "drift.learn_days": "3",
}


class Key(NamedTuple):
    """A key of the file: its place, the model's field, what its docstring says."""

    place: str
    field: Any
    words: str


def words_of(module: ModuleType) -> dict[tuple[str, str], str]:
    """The docstrings of a module's classes, and of the names in them, on one line each."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found[node.name, ""] = " ".join((ast.get_docstring(node) or "").split())
            for this, following in zip(node.body, node.body[1:], strict=False):
                match this, following:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(text))),
                    ):
                        found[node.name, name] = " ".join(text.split())
    return found


WORDS = {
    **words_of(schema),
    **words_of(alarm),
    **words_of(detector),
    **words_of(feature_sections),
    **words_of(files),
    **words_of(source),
    **words_of(contract),
}


def keys(model: type[BaseModel], place: str = "") -> Iterator[Key]:
    """All keys of a table, and of the tables within it."""
    for name, field in model.model_fields.items():
        here = f"{place}.{name}".removeprefix(".")
        inner, is_named = _table(field.annotation)
        if field.exclude:
            continue
        if inner is None or inner is schema.BatchExpectation:
            yield Key(here, field, WORDS.get((model.__name__, name), ""))
        if inner:
            yield from keys(inner, f"{here}.NAME" if is_named else here)


def _table(kind: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model of a table, and whether it stands under names of one's own."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if isinstance(kind, UnionType):
        kind = next(filter(_is_model, get_args(kind)), kind)
    if get_origin(kind) is dict:
        inner, _ = _table(get_args(kind)[1])
        return inner, True
    return (kind if _is_model(kind) else None), False


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _allowed(key: Key) -> str:
    """What a key takes, as far as its JSON schema says it in a few words."""
    whole = TypeAdapter(Annotated[key.field.annotation, key.field]).json_schema()
    found = []
    for part in whole.get("anyOf", [whole]):
        if "enum" in part or "const" in part:
            found += [f"`{json.dumps(value)}`" for value in part.get("enum", [part.get("const")])]
        elif part.get("type") in ("number", "integer"):
            bounds = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to"}
            bounds["exclusiveMaximum"] = "below"
            said = [f"{word} {part[bound]}" for bound, word in bounds.items() if bound in part]
            found.append(" ".join([part["type"], *said]))
        elif part.get("type") in ("string", "boolean", "array", "object"):
            names = {"string": "text", "boolean": "`true` or `false`", "array": "list"}
            found.append(names.get(part["type"], "table"))
    return ", ".join(dict.fromkeys(found))


def _default(key: Key) -> str:
    if key.field.is_required():
        return "must be there"
    value = key.field.get_default(call_default_factory=True)
    if value is None or value == () or value == "" or value == {} or isinstance(value, BaseModel):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def page() -> str:
    """The text of docs/contract.md."""
    lines = [
        "# The sensor contract",
        "",
        "A sensor is one TOML file. `breezeway` checks it as a whole: each mistake is told with",
        "its line, and an unknown key with the nearest known one. An editor that knows JSON",
        "schemas (such as VS Code with Even Better TOML) checks it while you write, if the first",
        "line is `#:schema https://…/contract.schema.json`, with the address of a copy of",
        "[contract.schema.json](contract.schema.json). This page is made from the code by",
        "`docs/write_contract.py`.",
    ]
    table = None
    for key in keys(contract.Contract):
        outer = key.place.rpartition(".")[0]
        if outer != table:
            table = outer
            owner = _model_of(outer)
            title = f"`[{outer}]`" if outer else "The file"
            lines += ["", f"## {title}", "", *([WORDS[owner, ""], ""] if outer else [])]
            lines += ["| key | example | takes | default | |", "|---|---|---|---|---|"]
        name = key.place.rpartition(".")[2]
        cells = [f"`{name}`", f"`{EXAMPLES[key.place]}`", _allowed(key), _default(key), key.words]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _model_of(place: str) -> str:
    model: Any = contract.Contract
    for part in filter(None, place.split(".")):
        if part != "NAME":
            model = _table(model.model_fields[part].annotation)[0]
    return str(model.__name__)


def json_schema() -> str:
    """The text of docs/contract.schema.json."""
    whole = contract.Contract.model_json_schema()
    whole["required"].remove("text")
    for name, table in {"Contract": whole, **whole["$defs"]}.items():
        table.pop("description", None)
        table["properties"].pop("text", None)
        for key, part in table["properties"].items():
            if text := WORDS.get((name, key)):
                part["description"] = text
    text = json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True)
    return text.replace('"format": "duration",\n', "") + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(json_schema(), encoding="utf-8")
