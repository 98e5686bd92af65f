"""Checks a filled-in form before any work is done: does the run have all that it needs?"""

from argparse import ArgumentTypeError
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from breezeway.core import arguments
from breezeway.core.days import day_of, day_start, today
from breezeway.core.errors import UsageError
from breezeway.core.names import DATASET_TAG, MODEL_NAME, MODEL_VERSION, RUN_NAME
from breezeway.core.settings import Settings
from breezeway_airflow.fields import contract_defaults, contract_zone

QUERY_BYTES = 100_000
"""A query is one argument of a command line; Linux allows 128 KiB for one."""
HISTORY = timedelta(hours=4)
"""After the end of a day the DAG `history` has made it."""
STEPS = ("preprocess", "tune", "train", "test", "promote", "deploy")
"""The parts of the DAG `training`, in their order."""

NAMES = {
    "tag": DATASET_TAG,
    "run_name": RUN_NAME,
    "model_name": MODEL_NAME,
    "model_version": MODEL_VERSION,
}
"""Field → the rule for its names, which the step's command line applies too."""


def read(params: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as steps take them: texts without surrounding blanks, `""` for an empty field.

    Raises:
        UsageError: a name breaks its rule; the message names the field.
    """
    form = {field: _plain(value) for field, value in params.items()}
    for field, rule in NAMES.items():
        if (name := form.get(field)) and (mistake := rule.mistake(name)):
            raise UsageError(f"Correct the field '{field}': {mistake}.")
    return form


def check(params: Mapping[str, Any], moment: datetime, settings: Settings) -> dict[str, Any]:
    """The form's fields → the values that the tasks of the run use.

    Args:
        params: the form.
        moment: of the run. It names the dataset if the form does not, and is the same in a retry.

    Returns:
        `query`, `first_day`, `last_day`, `test_query`, `tag`, `count`, `run_name`, `model_name`,
        `model_version`, `force`. An empty `query` stands for the days, an empty `test_query` for
        what is held out of the dataset, an empty `model_version` for the version that the run
        trains.

    Raises:
        UsageError: a field is wrong or missing; the message names it.
        ServiceUnavailable: MLflow, or the store of dataset versions, does not answer.
    """
    form = read(params)
    steps = set(form["steps"])
    if "preprocess" in steps:
        form |= readings(form, moment, settings)
    if "test" in steps and (form["test_query"] or form["query"]):
        form["test_query"] = _select("test_query", form["test_query"] or form["query"], settings)
    form["tag"] = _tag(form, steps, moment, settings)
    form["run_name"] = form["run_name"] or form["tag"]
    if steps & {"train", "test", "promote", "deploy"}:
        from breezeway.tracking import mlflow_client

        mlflow_client.check(settings)  # better now than after an hour of preprocessing
    form["model_version"] = _model_version(form, steps, settings)
    if "deploy" in steps and not steps & {"train", "promote"}:
        _check_deployable(form, settings)
    return {name: value for name, value in form.items() if name != "steps"}


def check_rollback(params: Mapping[str, Any], settings: Settings) -> dict[str, str]:
    """The form of a rollback → its values, and the present `champion`.

    Raises:
        UsageError: a field is wrong or missing; the message names it.
        ServiceUnavailable: MLflow does not answer.
    """
    from breezeway.tracking import champions

    form = read(params)
    champion = champions.champion(settings, form["model_name"])
    if champion is None:
        raise UsageError(
            f"Correct the field 'model_name': the model {form['model_name']!r} has no champion."
        )
    if len(form["reason"]) < 3:
        raise UsageError("Fill in the field 'reason': it is recorded with the version.")
    return form | {"champion": champion}


def check_canary(params: Mapping[str, Any], settings: Settings) -> dict[str, str]:
    """The form of a trial → its values, and the present `champion`.

    Raises:
        UsageError: a field is wrong; the message names it.
        ServiceUnavailable: MLflow does not answer.
    """
    from breezeway.tracking import champions, registry

    form = read(params)
    name = form["model_name"]
    champion = champions.champion(settings, name)
    if champion is None:
        raise UsageError(
            f"Correct the field 'model_name': the model {name!r} has no champion to compare a "
            "challenger with."
        )
    try:
        version = registry.resolve_version(settings, name, form["model_version"])
    except UsageError as error:
        raise UsageError(f"Correct the field 'model_version': {error}") from None
    if version == champion:
        raise UsageError(f"Correct the field 'model_version': {version} is the champion already.")
    form["model_version"] = version
    _check_deployable(form, settings)
    return {**form, "champion": champion}


def check_drift(
    params: Mapping[str, Any], night: date, model_name: str, settings: Settings
) -> dict[str, str]:
    """The form of a drift check → `model_name`, `date`, and `model_version`, which judges it.

    Args:
        night: the day that is checked if the form names none.

    Raises:
        UsageError: the date is wrong; the message names the field. Or there is no model that
            could judge.
        ServiceUnavailable: MLflow does not answer.
    """
    from breezeway.pipeline import in_service

    zone = contract_zone(settings)
    day = read_day("date", params["date"] or f"{night}")
    now = today(zone)
    if day >= now:
        raise UsageError(
            f"Correct the field 'date': {day} ({zone}) has not ended yet. The last day that can be "
            f"checked is {now - timedelta(days=1)}."
        )
    judge = in_service.find_judge(settings, model_name, day)
    if judge is None:
        raise UsageError(
            f"The model {model_name!r} has no champion yet, so there is nothing to compare {day} "
            "with. Train one; then clear this run, or backfill its day."
        )
    return {"model_name": model_name, "date": f"{day}", "model_version": judge.version}


def check_backtest(
    params: Mapping[str, Any], partition_key: str | None, moment: datetime, settings: Settings
) -> dict[str, Any]:
    """The form of a backtest → `date`, `days`, and `made`, when the history of these has been made.

    Args:
        partition_key: of the run; the date if the form names none.
        moment: of the run. Without a form and a partition the days end on its day.

    Raises:
        UsageError: the date is none, or its days are not over.
    """
    from breezeway.pipeline import periods

    days = timedelta(days=int(params["days"]))
    zone = contract_zone(settings)
    text = params["date"] or partition_key or f"{day_of(moment, zone) - days}"
    first = read_day("date", text)
    try:
        periods.refuse_unfinished(first, days.days, zone)
    except UsageError as error:
        raise UsageError(f"Correct the field 'date': {error}") from None
    made = day_start(first + days, zone) + HISTORY
    return {"date": f"{first}", "days": days.days, "made": made.isoformat()}


def check_score(params: Mapping[str, Any], day: date, settings: Settings) -> dict[str, str]:
    """The form of a batch of predictions → `first_day` and `last_day` or `query`, `model_name`, and
    `model_version`, which scores them.

    Args:
        day: that is scored if the form names neither days nor a query.

    Raises:
        UsageError: a field is wrong or missing; the message names it.
        ServiceUnavailable: MLflow does not answer.
    """
    from breezeway.pipeline import in_service
    from breezeway.tracking import registry

    form = read(params)
    if form["query"]:
        for field in ("first_day", "last_day"):
            if form[field]:
                raise UsageError(f"Empty the field 'query' or the field {field!r}: one is enough.")
        form["query"] = _select("query", form["query"], settings)
    else:
        if form["last_day"] and not form["first_day"]:
            raise UsageError("Fill in the field 'first_day', or empty the field 'last_day'.")
        first = read_day("first_day", form["first_day"] or f"{day}")
        last = read_day("last_day", form["last_day"] or f"{first}")
        if last < first:
            raise UsageError(f"Correct the field 'last_day': {last} is before {first}.")
        if last >= (now := today(contract_zone(settings))):
            wrong = "last_day" if form["last_day"] else "first_day"
            raise UsageError(
                f"Correct the field {wrong!r}: the day {last} is not over yet; today is {now}."
            )
        form |= {"first_day": f"{first}", "last_day": f"{last}"}
    name = form["model_name"]
    if not form["model_version"]:
        found = in_service.find_serving(settings, name)
        if found is None:
            raise UsageError(
                f"Fill in the field 'model_version': the model {name!r} has no version in service "
                "and no champion."
            )
        form["model_version"] = found.version
    try:
        form["model_version"] = registry.resolve_version(settings, name, form["model_version"])
    except UsageError as error:
        raise UsageError(f"Correct the field 'model_version': {error}") from None
    return {key: value for key, value in form.items() if key != "table"}


def day_before(moment: datetime, settings: Settings) -> date:
    """The last day that has ended at a moment."""
    return day_of(moment, contract_zone(settings)) - timedelta(days=1)


def read_day(field: str, text: str) -> date:
    """A day, also where it is the key of a run's partition, which has no schema."""
    try:
        return arguments.day(text)
    except ArgumentTypeError as error:
        raise UsageError(f"Correct the field {field!r}: {error}.") from None


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    # JSON calls 3.0 a whole number, a command line does not.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def readings(form: Mapping[str, Any], moment: datetime, settings: Settings) -> dict[str, str]:
    """The fields `query`, `first_day` and `last_day` → the query, or the days.

    Raises:
        UsageError: a field is wrong or missing; the message names it.
    """
    from breezeway.contract.contract import load_contract

    named = [field for field in ("first_day", "last_day") if form[field]]
    window = load_contract(settings.sensors).train.window
    if not named and (form["query"] or not window):
        return {"query": _select("query", form["query"], settings)}
    if named and form["query"] not in ("", contract_defaults(settings)[1]):
        raise UsageError(f"Empty the field 'query' or the field '{named[0]}': either is enough.")
    yesterday = day_before(moment, settings)
    last = read_day("last_day", form["last_day"]) if form["last_day"] else yesterday
    if last > yesterday:
        raise UsageError(f"Correct the field 'last_day': the day {last} is not over yet.")
    if form["first_day"]:
        first = read_day("first_day", form["first_day"])
    elif window is None:
        raise UsageError(
            "Fill in the field 'first_day': the sensor contract has no window in [train]."
        )
    else:
        first = last - window + timedelta(days=1)
    if first > last:
        raise UsageError(f"Correct the field 'first_day': {first} is after the last day, {last}.")
    return {"query": "", "first_day": first.isoformat(), "last_day": last.isoformat()}


def _select(field: str, query: str, settings: Settings) -> str:
    from breezeway.readings.query import check_query

    if not query:
        raise UsageError(f"Fill in the field '{field}': one SELECT on the raw readings.")
    if len(query.encode()) > QUERY_BYTES:
        raise UsageError(
            f"Correct the field '{field}': it takes {len(query.encode())} bytes; {QUERY_BYTES} are "
            "allowed."
        )
    if "\0" in query:  # no argument of a command can hold it
        raise UsageError(f"Correct the field '{field}': take the NUL character out of it.")
    try:
        return check_query(query, settings.raw_address)
    except UsageError as error:
        raise UsageError(f"Correct the field '{field}': {error}") from None


def _tag(form: dict[str, Any], steps: set[str], moment: datetime, settings: Settings) -> str:
    tag: str = form["tag"]
    if "preprocess" in steps:
        if not tag:
            return f"{moment.astimezone(UTC):v%Y%m%d-%H%M%S-%f}"[:-3]
        _check_new_tag(tag, form, settings)
        return tag
    needing = [step for step in ("tune", "train") if step in steps]
    if not needing:
        return tag
    if not tag:
        raise UsageError(
            f"Fill in the field 'tag': {' and '.join(needing)} without preprocess needs the tag "
            "of an existing dataset. Or add preprocess to the steps."
        )
    from breezeway.datasets import versions

    try:
        version = versions.find_version(settings, tag)
    except UsageError as error:
        raise UsageError(
            f"Correct the field 'tag': {error} Or add preprocess, which makes it, to the steps."
        ) from None
    return version.tag if "tune" in steps else tag


def _check_new_tag(tag: str, form: dict[str, Any], settings: Settings) -> None:
    from breezeway.datasets import versions

    if versions.PARAMS_TAG.fullmatch(tag):
        raise UsageError(
            f"Correct the field 'tag': {tag!r} has the form of a tag of tuned parameters; give the "
            "dataset another name."
        )
    # With the same query or days this may be a second attempt, which may publish the same content.
    if versions.tag_exists(settings, tag):
        manifest = versions.find_version(settings, tag).manifest
        days = sorted(manifest.get("days", {}))
        if form["first_day"] and days:
            same = form["first_day"] <= days[0] and days[-1] <= form["last_day"]
        else:
            same = manifest.get("query") == form["query"]
        if not same:
            raise UsageError(
                f"Change the field 'tag': the dataset {tag!r} exists, and was made with another "
                f"query, {manifest.get('query')!r}. A tag never moves. Or leave the tag empty."
            )


def _model_version(form: dict[str, Any], steps: set[str], settings: Settings) -> str:
    if "train" in steps:
        if form["model_version"]:
            raise UsageError(
                "Empty the field 'model_version': the run trains a new version and uses that one. "
                "Or take train out of the steps."
            )
        if "promote" in steps and "test" not in steps:
            raise UsageError(
                "Correct the field 'steps': promote needs a test of the version that the run "
                "trains. Add test."
            )
        return ""
    if not steps & {"test", "promote", "deploy"}:
        return str(form["model_version"])
    return _existing_version(form, steps, settings)


def _existing_version(form: dict[str, Any], steps: set[str], settings: Settings) -> str:
    """The number of the version that is tested, promoted or deployed without training."""
    from breezeway.tracking import champions, registry

    name: str = form["model_name"]
    version: str = form["model_version"]
    if not registry.model_exists(settings, name):
        raise UsageError(
            f"Correct the field 'model_name': there is no model {name!r}. Or add train to the "
            "steps."
        )
    if not version and "deploy" in steps and "promote" not in steps:
        version = champions.CHAMPION  # another version is deployed only if it is named
    try:
        version = registry.resolve_version(
            settings, name, version or registry.newest_version(settings, name)
        )
        if "promote" in steps and "test" not in steps:
            champions.read_evidence(settings, name, version)
    except UsageError as error:
        raise UsageError(f"Correct the field 'model_version': {error}") from None
    return version


def _check_deployable(form: dict[str, Any], settings: Settings) -> None:
    from breezeway.tracking import champions, registry

    version = registry.find_version(settings, form["model_name"], form["model_version"])
    if (objection := champions.objection(settings, version)) and not form["force"]:
        raise UsageError(
            f"Fill in the field 'force', or name another version: {objection} The reason that you "
            "give is kept with the version."
        )
