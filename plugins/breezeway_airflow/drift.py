"""Announces a drift to Airflow, once, however many nights it lasts."""

import json
from datetime import date, timedelta
from typing import Any, TypedDict

from airflow.sdk import Asset, BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException
from pydantic import TypeAdapter, ValidationError

from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway_airflow.nights import may_announce
from breezeway_airflow.notify import tell


def drift_asset(model_name: str) -> Asset:
    """The asset that gets an event when readings drift from what the champion was trained on."""
    return Asset(name=f"drift-{model_name}", uri=f"breezeway://drift/{model_name}")


class Announced(TypedDict):
    """A drift that was announced: its first night, its last so far, and who announced it."""

    date: str
    seen: str
    airflow_run: str


_ANNOUNCED: TypeAdapter[Announced | None] = TypeAdapter(Announced | None)


class AnnounceDrift(BaseOperator):
    """Creates an event of the drift asset on the first night of a drift. Otherwise it is skipped.

    The tag `breezeway.drift_announced` of the registered model records the drift that was
    announced: JSON of `date` (its first night), `seen` (its last so far) and `airflow_run`. The
    tag belongs to the model, not to a version, because a retrained champion may not know the drift
    yet. A quiet night more than `[drift] nights` after `seen` clears it. A change that is found
    again before that belongs to the same drift.

    The tag is written before the event is created. So a retry of the run that wrote it creates an
    event that is missing, and no other run does. Only one of these tasks may run at a time: see the
    pool `model_registry`.

    Args:
        result: of the step `drift`.
        drift: the asset.
    """

    template_fields = ("result",)
    ui_color = "#fff3e0"

    def __init__(self, *, result: dict[str, Any], drift: Asset, **kwargs: Any):
        super().__init__(inlets=[drift], outlets=[drift], **kwargs)
        self.result = result
        self.drift = drift

    def execute(self, context: Context) -> dict[str, Any]:
        """Create the event.

        Returns:
            What the event carries: `model_name`, `model_version`, `date`, `reason`, `drifted`.

        Raises:
            AirflowSkipException: there is no drift, it has been announced, or the run checks the
                past and is not asked to announce.
            ServiceUnavailable: MLflow does not answer.
        """
        night = self.result["date"]
        if not may_announce(context, night):
            raise AirflowSkipException(f"Nobody is told of {night}, which is in the past.")
        settings = Settings.from_environment()
        known = announced(settings, self.result["model_name"])
        if self.result["verdict"] != "drifted":
            self._forget(settings, known)
            raise AirflowSkipException(f"Nothing to announce: {self.result['reason']}")
        run = context["dag_run"]
        this_run = f"{run.dag_id}/{run.run_id}"
        first: Announced = known or {"date": night, "seen": night, "airflow_run": this_run}
        self._remember(settings, {**first, "seen": max(night, first["seen"])})
        if first["airflow_run"] != this_run or self._has_event(context):
            raise AirflowSkipException(
                f"The drift since {first['date']} was announced by {first['airflow_run']}."
            )
        fields = ("model_name", "model_version", "date", "reason", "drifted")
        told = {name: self.result[name] for name in fields}
        context["outlet_events"][self.drift].extra = told
        self.log.info("Announced: %s", self.result["reason"])
        title = f"The readings of {told['model_name']} have drifted since {told['date']}"
        tell(context, "drift", title, self.result["reason"])
        return told

    def _has_event(self, context: Context) -> bool:
        """Whether an earlier attempt created it: a person may clear a task that succeeded."""
        run = context["dag_run"]
        events = context["inlet_events"][self.drift]
        return any((e.source_dag_id, e.source_run_id) == (run.dag_id, run.run_id) for e in events)

    def _forget(self, settings: Settings, known: Announced | None) -> None:
        from breezeway.contract.contract import load_contract

        if known is None or self.result["verdict"] != "quiet":
            return
        passed = date.fromisoformat(self.result["date"]) - date.fromisoformat(known["seen"])
        if passed > timedelta(days=load_contract(settings.sensors).drift.nights):
            self._remember(settings, None)
            self.log.info("The drift since %s is over.", known["date"])

    def _remember(self, settings: Settings, drift: Announced | None) -> None:
        from breezeway.tracking import registry

        model_name = self.result["model_name"]
        registry.tag_model(settings, model_name, "drift_announced", json.dumps(drift))


def announced(settings: Settings, model_name: str) -> Announced | None:
    """The drift that was announced and is not over.

    Raises:
        DataError: the tag that records it was overwritten with something else.
    """
    from breezeway.tracking import registry

    text = registry.find_model(settings, model_name).tags.get("drift_announced", "null")
    try:
        return _ANNOUNCED.validate_json(text, strict=True)
    except ValidationError:
        raise DataError(
            f"The tag breezeway.drift_announced of the model {model_name!r} is {text[:100]!r}: "
            "expected null, or a JSON object with date, seen and airflow_run. Delete it in MLflow."
        ) from None
