"""Records a step in MLflow: one run, its files, and the tags that make them reports."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from breezeway.core.settings import Settings
from breezeway.tracking import mlflow_client


@contextmanager
def recorded(
    settings: Settings, experiment: str, name: str, *, started: float, tags: Mapping[str, str]
) -> Iterator[str]:
    """Start a run; within the block, MLflow's own functions log to it.

    Args:
        experiment: its name; it is created if it does not exist.
        name: of the run.
        started: when the work started, in seconds since 1970.
        tags: of ours, without their prefix `breezeway.`.

    Yields:
        The run's id.

    Raises:
        UsageError, ServiceUnavailable: as `mlflow_client.errors`.
    """
    client = mlflow_client.client(settings)
    import mlflow

    with mlflow_client.errors(settings):
        experiment_id = mlflow.set_experiment(experiment).experiment_id
        prefixed = {f"breezeway.{key}": value for key, value in tags.items()}
        run = client.create_run(experiment_id, int(started * 1000), prefixed, name)
        with mlflow.start_run(run_id=run.info.run_id):
            yield str(run.info.run_id)


def add_reports(
    settings: Settings,
    run_id: str,
    folder: Path,
    titles: Mapping[str, str],
    *,
    step: str,
    about: str,
) -> None:
    """Add the files of a folder to a run; those with a title become reports.

    Args:
        titles: path within the folder → title; missing files are left out.
        step, about: as for `report_tags`.

    Raises:
        UsageError, ServiceUnavailable: as `mlflow_client.errors`.
    """
    client = mlflow_client.client(settings)
    with mlflow_client.errors(settings):
        client.log_artifacts(run_id, str(folder))
    there = {path: title for path, title in titles.items() if (folder / path).is_file()}
    tag_reports(settings, run_id, there, step=step, about=about)


def tag_reports(
    settings: Settings, run_id: str, titles: Mapping[str, str], *, step: str, about: str
) -> None:
    """Turn files of a run into reports, which Airflow's page Reports lists.

    Args:
        titles, step, about: as for `report_tags`.

    Raises:
        UsageError, ServiceUnavailable: as `mlflow_client.errors`.
    """
    client = mlflow_client.client(settings)
    from mlflow.entities import RunTag

    tags = report_tags(settings, step, about, titles)
    with mlflow_client.errors(settings):
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def report_tags(
    settings: Settings, step: str, about: str, titles: Mapping[str, str]
) -> dict[str, str]:
    """Return the tags that turn a run's files into reports, which Airflow's page Reports lists.

    Set them last, after the files are there.

    Args:
        step: that made them.
        about: the model, as `name/version`, or the name if there is no version.
        titles: path within the run → title, in the order in which a person should see them. A
            path ends in `.html`, `.png` or `.json`; the page shows no other files.

    Example:
        >>> report_tags(Settings(run_id="daily/r1"), "test", "plant/3", {"drift.html": "Drift"})
        ... # doctest: +NORMALIZE_WHITESPACE
        {'breezeway.step': 'test', 'breezeway.model': 'plant/3',
         'breezeway.reports': '[{"path": "drift.html", "title": "Drift"}]',
         'breezeway.airflow_run': 'daily/r1'}
    """
    listed = [{"path": path, "title": title} for path, title in titles.items()]
    tags = {
        "breezeway.step": step,
        "breezeway.model": about,
        "breezeway.reports": json.dumps(listed, ensure_ascii=False),
    }
    return tags | ({"breezeway.airflow_run": settings.run_id} if settings.run_id else {})
