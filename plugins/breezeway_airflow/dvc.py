"""Publishes dataset versions and parameters, one writer at a time (pool `dataset_versions`)."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Context, SkipMixin

from breezeway.core.settings import Settings


class PublishDataset(BaseOperator):
    """Publishes a folder as the dataset version `tag`, and removes it: DVC has its content then.

    The same content again changes nothing.

    Args:
        folder: what preprocessing wrote.
        tag: of the new version.
    """

    template_fields = ("folder", "tag")
    ui_color = "#e8f5e9"

    def __init__(self, *, folder: str, tag: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.folder = folder
        self.tag = tag

    def execute(self, context: Context) -> dict[str, str]:
        """Publish.

        Raises:
            UsageError: the tag exists with other content.
            TryAgain: another writer held the lock for too long.
            ServiceUnavailable: the repository or the remote does not answer, or is full.
        """
        from breezeway.datasets import work

        version = work.publish_work(
            Settings.from_environment(), Path(self.folder), self.tag, message=run_name(context)
        )
        self.log.info(
            "Dataset %s is commit %s, content %s.", version.tag, version.commit, version.hash
        )
        return {"tag": version.tag, "commit": version.commit, "hash": version.hash}


class PublishParameters(BaseOperator):
    """Publishes the best parameters on top of the dataset version that they were tuned on.

    Args:
        params_file: the file that tuning wrote; its pictures are in the same folder.
        tag: of the dataset version.
    """

    template_fields = ("params_file", "tag")
    ui_color = "#e8f5e9"

    def __init__(self, *, params_file: str, tag: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.params_file = params_file
        self.tag = tag

    def execute(self, context: Context) -> dict[str, str | None]:
        """Publish; the result's `tag` is that of the parameters.

        Raises:
            as PublishDataset does.
        """
        from breezeway.datasets import versions

        version = versions.publish_params(
            Settings.from_environment(), Path(self.params_file).parent, self.tag
        )
        self.log.info("Parameters %s are commit %s.", version.params_tag, version.params_commit)
        return {"tag": version.params_tag, "commit": version.params_commit}


class PublishDay(BaseOperator, SkipMixin):
    """Publishes the partition of a day, unless its newest revision has the same content.

    Then it removes the folder: DVC has its content.

    A day without readings publishes nothing.

    Args:
        made: id of the task of the step `preprocess` that made the partition.
        skip_when_none_is_stale: ids of tasks directly downstream.
    """

    inherits_from_skipmixin = True
    ui_color = "#e8f5e9"

    def __init__(self, *, made: str, skip_when_none_is_stale: Sequence[str] = (), **kwargs: Any):
        super().__init__(**kwargs)
        self.made = made
        self.skip_when_none_is_stale = skip_when_none_is_stale

    def execute(self, context: Context) -> dict[str, str]:
        """Publish.

        Raises:
            TryAgain: another writer held the lock for too long.
            ServiceUnavailable: the repository or the remote does not answer, or is full.
        """
        made = context["ti"].xcom_pull(self.made)
        result = self._publish(made, run_name(context)) if made["rows_in"] else {}
        for day, why in made["stale"].items():
            self.log.info("The day %s has to be made again: %s.", day, why)
        if not made["stale"]:
            # `skip` raises, so the result has to be pushed before.
            context["ti"].xcom_push("return_value", result)
            tasks = [self.dag.get_task(task) for task in self.skip_when_none_is_stale]
            self.skip(context["ti"], tasks)
        return result

    def _publish(self, made: dict[str, Any], message: str) -> dict[str, str]:
        from breezeway.datasets import history

        day, folder = date.fromisoformat(made["day"]), Path(made["folder"])
        settings = Settings.from_environment()
        version = history.publish_day(settings, folder, day, made["seconds"], message)
        self.log.info("The day %s is %s, content %s.", day, version.tag, version.hash)
        return {"tag": version.tag, "commit": version.commit, "hash": version.hash}


def run_name(context: Context) -> str:
    return f"Airflow run {context['dag_run'].dag_id}/{context['dag_run'].run_id}"
