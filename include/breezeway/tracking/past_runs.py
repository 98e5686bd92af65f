"""Runs that are in MLflow, from its REST API: searched, and removed."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from breezeway.core.settings import Settings
from breezeway.tracking import rest

PAGE = 100
MAX_EXPERIMENTS = 1000


def experiments(settings: Settings) -> list[str]:
    """Ids of the experiments.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    answer = rest.get(settings, "experiments/search", max_results=MAX_EXPERIMENTS)
    return [experiment["experiment_id"] for experiment in answer.get("experiments", [])]


def search(settings: Settings, condition: str = "") -> Iterator[dict[str, Any]]:
    """All runs, of any experiment, that match a condition in MLflow's filter language.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    among = experiments(settings)
    token = ""
    while among:
        fields = {"experiment_ids": among, "filter": condition, "max_results": PAGE}
        answer = rest.post(settings, "runs/search", page_token=token, **fields)
        yield from answer.get("runs", [])
        token = answer.get("next_page_token", "")
        if not token:
            return


def delete(settings: Settings, run: dict[str, Any]) -> None:
    """Delete a run with the models that it logged; `mlflow gc` removes their files.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    info = run["info"]
    fields = {
        "experiment_ids": [info["experiment_id"]],
        "filter": f"source_run_id = '{info['run_id']}'",
    }
    with suppress(rest.NotFound):  # another housekeeping was faster
        for model in rest.post(settings, "logged-models/search", **fields).get("models", []):
            rest.delete(settings, f"logged-models/{model['info']['model_id']}")
        rest.post(settings, "runs/delete", run_id=info["run_id"])
