"""Starts the DAG `training` when the sensor contract says that it is due."""

import json
from datetime import date
from typing import TYPE_CHECKING, Any, TypedDict

from airflow.sdk import Asset, AssetOrTimeSchedule, BaseOperator, Context, CronTriggerTimetable
from airflow.sdk.exceptions import AirflowSkipException
from pydantic import TypeAdapter, ValidationError

from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway_airflow import fields
from breezeway_airflow.drift import announced
from breezeway_airflow.nights import may_announce

if TYPE_CHECKING:
    from breezeway.contract.contract import Contract
    from breezeway.pipeline.retraining import Due

REMEMBERED = 30
"""Nights that the tag has room for; a drift needs the last five."""


def retraining_asset(model_name: str) -> Asset:
    """The asset that gets an event when a retraining is due."""
    return Asset(name=f"retraining-{model_name}", uri=f"breezeway://retraining/{model_name}")


def contract_retrains(settings: Settings) -> bool:
    """Whether a night may start a retraining by the sensor contract."""
    switches = [("drift", "retrain"), ("train", "every_days"), ("train", "every_labels")]
    return any(fields.contract_value(settings, *switch) for switch in switches)


def training_schedule(settings: Settings, model_name: str) -> Any:
    """What starts the DAG `training` by itself: times, a night's event, both or nothing."""
    cron = fields.contract_value(settings, "train", "schedule")
    times = (
        CronTriggerTimetable(cron, timezone=f"{fields.contract_zone(settings)}") if cron else None
    )
    events = [retraining_asset(model_name)] if contract_retrains(settings) else None
    if times and events:
        return AssetOrTimeSchedule(timetable=times, assets=events)
    return times or events


def skip_if_another_runs(context: Context) -> None:
    """A run that its time has started makes way if another waits or runs, so none piles up.

    Raises:
        AirflowSkipException: another waits or runs.
    """
    run = context["dag_run"]
    if run.run_type != "scheduled":
        return
    there = context["ti"].get_dr_count(run.dag_id, states=["queued", "running"])
    if there > 1:
        raise AirflowSkipException(
            f"{there - 1} other runs of the DAG {run.dag_id} wait or run; the next scheduled time "
            "looks again."
        )


class Retrainings(TypedDict):
    """Night → the Airflow run that started one; how many labels there were at the last."""

    asked: dict[str, str]
    labels: int | None


_RETRAININGS: TypeAdapter[Retrainings] = TypeAdapter(Retrainings)
_NONE = json.dumps(Retrainings(asked={}, labels=None))


class StartRetraining(BaseOperator):
    """Creates an event of the asset when a retraining is due. Otherwise it is skipped.

    `breezeway.pipeline.retraining` holds the rules. The tag `breezeway.retrainings` of the
    registered model records the nights that have started one. Nothing is started while a run of
    the DAG `training` waits or runs: the next night looks again. So one run waits at the most.

    The tag is written before the event is created, as in `AnnounceDrift`. Only one of these tasks
    may run at a time: see the pool `model_registry`.

    Args:
        result: of the step `drift`.
        retraining: the asset.
        dag_id: of the DAG that the asset triggers.
    """

    template_fields = ("result",)
    ui_color = "#fff3e0"

    def __init__(
        self, *, result: dict[str, Any], retraining: Asset, dag_id: str = "training", **kwargs: Any
    ):
        super().__init__(inlets=[retraining], outlets=[retraining], **kwargs)
        self.result = result
        self.retraining = retraining
        self.trained_by = dag_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Create the event.

        Returns:
            What the event carries: `model_name`, `date`, `reason`.

        Raises:
            AirflowSkipException: no retraining is due, one waits or runs, or the run checks the
                past and is not asked to announce.
            ServiceUnavailable: MLflow, or the store of dataset versions, does not answer.
        """
        from breezeway.contract.contract import load_contract

        night, labels = self.result["date"], self.result.get("labels")
        if not may_announce(context, night):
            raise AirflowSkipException(f"Nothing is retrained for {night}, which is in the past.")
        settings = Settings.from_environment()
        known = _read(settings, self.result["model_name"])
        run = context["dag_run"]
        this_run = f"{run.dag_id}/{run.run_id}"
        if known["asked"].get(night) == this_run:  # an earlier attempt
            if self._has_event(context):
                raise AirflowSkipException("This run has started a retraining already.")
            return self._create(context, "An earlier attempt of this run asked for it.")
        if known["labels"] is None and labels is not None:
            known["labels"] = labels  # from now on they are counted
            self._remember(settings, known)
        rules = self._rules(settings, load_contract(settings.sensors), known)
        reason = next((due.reason for due in rules if due.now), None)
        if reason is None:
            why = " ".join(due.reason for due in rules) or "There is no drift to learn."
            raise AirflowSkipException(why)
        busy = context["ti"].get_dr_count(self.trained_by, states=["queued", "running"])
        if busy:
            raise AirflowSkipException(
                f"{reason} But {busy} runs of the DAG {self.trained_by} wait or run; the next "
                "night looks again."
            )
        asked = sorted({**known["asked"], night: this_run}.items())[-REMEMBERED:]
        self._remember(settings, {"asked": dict(asked), "labels": labels})
        return self._create(context, reason)

    def _rules(self, settings: Settings, contract: "Contract", known: Retrainings) -> list["Due"]:
        """What the contract's rules say."""
        from breezeway.pipeline import retraining

        model_name, night = self.result["model_name"], date.fromisoformat(self.result["date"])
        asked = [date.fromisoformat(day) for day in known["asked"]]
        rules = []
        if contract.drift.retrain and self.result["verdict"] == "drifted":
            drift = announced(settings, model_name)
            first = date.fromisoformat(drift["date"]) if drift else night
            of_drift = [day for day in asked if day >= first]
            rules.append(
                retraining.after_drift(settings, contract, model_name, (first, night), of_drift)
            )
        if contract.train.every_days:
            rules.append(retraining.after_days(settings, contract, model_name, night, asked))
        if contract.train.every_labels and known["labels"] is not None:
            labels = self.result.get("labels", known["labels"])
            rules.append(retraining.after_labels(contract, labels, known["labels"]))
        return rules

    def _create(self, context: Context, reason: str) -> dict[str, Any]:
        told = {name: self.result[name] for name in ("model_name", "date")} | {"reason": reason}
        self.log.info("A retraining starts. %s", reason)
        context["outlet_events"][self.retraining].extra = told
        return told

    def _has_event(self, context: Context) -> bool:
        """Whether an earlier attempt created it: a person may clear a task that succeeded."""
        run = context["dag_run"]
        events = context["inlet_events"][self.retraining]
        return any((e.source_dag_id, e.source_run_id) == (run.dag_id, run.run_id) for e in events)

    def _remember(self, settings: Settings, known: Retrainings) -> None:
        from breezeway.tracking import registry

        registry.tag_model(settings, self.result["model_name"], "retrainings", json.dumps(known))


def _read(settings: Settings, model_name: str) -> Retrainings:
    """The retrainings that were started.

    Raises:
        DataError: the tag that records them was overwritten with something else.
    """
    from breezeway.tracking import registry

    text = registry.find_model(settings, model_name).tags.get("retrainings", _NONE)
    try:
        return _RETRAININGS.validate_json(text, strict=True)
    except ValidationError:
        raise DataError(
            f"The tag breezeway.retrainings of the model {model_name!r} is {text[:100]!r}: "
            "expected a JSON object with asked and labels. Delete it in MLflow."
        ) from None
