"""Starts the DAG `training` when a drift can be learned from."""

import json
from datetime import date
from typing import Any, TypedDict

from airflow.sdk import Asset, BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException
from pydantic import TypeAdapter, ValidationError

from breezeway.core.errors import DataError
from breezeway.core.settings import Settings
from breezeway_airflow.drift import announced
from breezeway_airflow.nights import may_announce


def retraining_asset(model_name: str) -> Asset:
    """The asset that gets an event when a retraining is due."""
    return Asset(name=f"retraining-{model_name}", uri=f"breezeway://retraining/{model_name}")


class Asked(TypedDict):
    """The retrainings of a drift: its first night, and which run asked on which night."""

    drift: str
    asked: dict[str, str]


_ASKED: TypeAdapter[Asked | None] = TypeAdapter(Asked | None)


class StartRetraining(BaseOperator):
    """Creates an event of the asset when a drift can be learned from. Otherwise it is skipped.

    `breezeway.pipeline.retraining` holds the rule. The tag `breezeway.retrainings` of the
    registered model records the nights that have started one: JSON of `drift` (the first night of
    the drift that was announced) and `asked` (night → Airflow run). Nothing is started while a run
    of the DAG `training` waits or runs: the next night looks again. So one run waits at the most.

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
            AirflowSkipException: there is no drift, no retraining is due, or the run checks the
                past and is not asked to announce.
            ServiceUnavailable: MLflow, or the store of dataset versions, does not answer.
        """
        from breezeway.contract.contract import load_contract
        from breezeway.pipeline import retraining

        model_name, night = self.result["model_name"], self.result["date"]
        if not may_announce(context, night):
            raise AirflowSkipException(f"Nothing is retrained for {night}, which is in the past.")
        settings = Settings.from_environment()
        drift = announced(settings, model_name)
        if self.result["verdict"] != "drifted" or drift is None:
            raise AirflowSkipException("There is no drift to learn.")
        known = _asked(settings, model_name)
        asked = known["asked"] if known and known["drift"] == drift["date"] else {}
        run = context["dag_run"]
        this_run = f"{run.dag_id}/{run.run_id}"
        if asked.get(night) == this_run:  # an earlier attempt
            if self._has_event(context):
                raise AirflowSkipException("This run has started a retraining already.")
            return self._create(context, "An earlier attempt of this run asked for it.")
        due = retraining.due(
            settings,
            load_contract(settings.sensors),
            model_name,
            (date.fromisoformat(drift["date"]), date.fromisoformat(night)),
            [date.fromisoformat(day) for day in asked],
        )
        if not due.now:
            raise AirflowSkipException(due.reason)
        waiting = context["ti"].get_dr_count(self.trained_by, states=["queued", "running"])
        if waiting:
            raise AirflowSkipException(
                f"{due.reason} But {waiting} runs of the DAG {self.trained_by} wait or run; the "
                "next night looks again."
            )
        _remember(
            settings, model_name, {"drift": drift["date"], "asked": asked | {night: this_run}}
        )
        return self._create(context, due.reason)

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


def _asked(settings: Settings, model_name: str) -> Asked | None:
    """The retrainings of the last drift that started any.

    Raises:
        DataError: the tag that records them was overwritten with something else.
    """
    from breezeway.tracking import registry

    text = registry.find_model(settings, model_name).tags.get("retrainings", "null")
    try:
        return _ASKED.validate_json(text, strict=True)
    except ValidationError:
        raise DataError(
            f"The tag breezeway.retrainings of the model {model_name!r} is {text[:100]!r}: "
            "expected null, or a JSON object with drift and asked. Delete it in MLflow."
        ) from None


def _remember(settings: Settings, model_name: str, asked: Asked) -> None:
    from breezeway.tracking import registry

    registry.tag_model(settings, model_name, "retrainings", json.dumps(asked))
