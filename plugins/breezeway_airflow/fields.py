"""Fields of the DAGs' trigger forms, and templates for their values.

A field refuses what the step that gets its value would refuse. So a mistake is found when the form
is submitted, not after hours of work.
"""

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk import Context, Param

from breezeway.core.days import find_zone
from breezeway.core.errors import UsageError
from breezeway.core.names import MODEL_NAME
from breezeway.core.settings import Settings

_LEAP = r"(19|2\d)(0[48]|[2468][048]|[13579][26])|2[048]00"
_DAYS = (
    r"(0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8])"
)
DAY = rf"(((19|2\d)\d\d)-({_DAYS})|({_LEAP})-02-29)"
"""Regular expression of the days from 1900 to 2999: those that `arguments.day` takes. Not every
JSON schema checks the format `date`, and none the format `date-time`."""


def refuse_unknown(context: Context) -> None:
    """Called before each task: the configuration of the run has only fields of the form.

    Airflow takes any key. A run with a mistyped one would do its work with that field's default.

    Raises:
        UsageError: a key is no field; the message names it and the field that it may stand for.
    """
    known = list(context["dag"].params)
    for key in context["dag_run"].conf or {}:
        if key not in known:
            meant = get_close_matches(key, known, n=1)
            hint = f"did you mean {meant[0]!r}?" if meant else f"the fields are {known}."
            raise UsageError(f"The configuration of the run has {key[:80]!r}: {hint}")


def help_texts(docstring: str) -> dict[str, str]:
    """Field → its help: the items `- **field**: text` of a DAG's docstring."""
    items = re.findall(r"^- \*\*(\w+)\*\*: (.*?)(?=^- \*\*|^\n|\Z)", docstring, re.M | re.S)
    return {name: " ".join(text.split()) for name, text in items}


def read_contract(settings: Settings) -> Mapping[str, Any]:
    """The sensor contract as it is written. It is read at every parse of a DAG, so nothing is
    validated, and what has not changed is not parsed again."""
    return _parsed(settings.sensors.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _parsed(text: str) -> Mapping[str, Any]:
    return tomllib.loads(text)


def contract_defaults(settings: Settings) -> tuple[str, str]:
    """The sensor contract → model name and the query of all readings."""
    contract = read_contract(settings)
    if "source" in contract:
        from breezeway.contract.source import EVERYTHING  # pydantic takes a while

        return contract["name"], EVERYTHING
    label = contract.get("label", {}).get("column")
    columns = ["device", "time", "payload", *filter(None, [label])]
    return contract["name"], f"SELECT {', '.join(columns)} FROM readings"


def contract_switch(settings: Settings, section: str, key: str) -> bool:
    """A switch of the sensor contract; off if the contract does not name it."""
    return bool(contract_value(settings, section, key))


def contract_value(settings: Settings, section: str, key: str) -> Any:
    """A value of the sensor contract; None if the contract does not name it."""
    return read_contract(settings).get(section, {}).get(key)


def contract_zone(settings: Settings) -> ZoneInfo:
    """The time zone of the sensor contract.

    Raises:
        UsageError: it names none.
    """
    try:
        return find_zone(str(read_contract(settings).get("time_zone", "UTC")))
    except ValueError as error:
        raise UsageError(f"{settings.sensors.name}: time_zone: {error}.") from None


def text(title: str, help: str, default: str | None = None, **schema: Any) -> Param:
    """A text field, which may be left empty."""
    return Param(default, type=["null", "string"], title=title, description_md=help, **schema)


def force(help: str) -> Param:
    """The field of the reason to go against an objection: empty, or 3 to 500 characters."""
    return text("Force", help, pattern=r"^\s*(\S.{1,498}\S)?\s*$")


def model_name(help: str, default: str) -> Param:
    """The field of a registered model's name."""
    return Param(
        default,
        type="string",
        title="Model",
        description_md=help,
        pattern=MODEL_NAME.form_pattern,
    )


def day(title: str, help: str) -> Param:
    """A date field, which may be left empty."""
    return text(title, help, format="date", pattern=f"^{DAY}$")


def switch(title: str, help: str) -> Param:
    """A field that is on or off; off by default."""
    return Param(False, type="boolean", title=title, description_md=help)


def time() -> dict[str, str]:
    """JSON schema of a point in time or a day that the calendar has, in ISO 8601."""
    clock = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?"
    zone = r"(Z|[+-]([01]\d|2[0-3]):[0-5]\d)?"
    return {"type": "string", "pattern": f"^{DAY}([T ]{clock}{zone})?$"}


def whole_number(title: str, help: str, default: int, minimum: int, maximum: int) -> Param:
    """A field of a whole number. JSON allows 3.0, so a template needs the filter `int`."""
    return Param(
        default,
        type="integer",
        title=title,
        description_md=help,
        minimum=minimum,
        maximum=maximum,
    )


def given(name: str) -> str:
    """Template of a field's value, checked and completed by the task `check_inputs`."""
    return f"{{{{ ti.xcom_pull('check_inputs')['{name}'] }}}}"


def made(by: str, name: str) -> str:
    """Template of a value from the result of a task, or `given(name)` if the task is skipped."""
    return f"{{{{ (ti.xcom_pull('{by}') or ti.xcom_pull('check_inputs'))['{name}'] }}}}"
