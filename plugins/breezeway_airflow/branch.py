"""Partial runs: skips the tasks of the steps that were not chosen, and no others."""

from airflow.sdk import BaseOperator, Context
from airflow.sdk.bases.skipmixin import SkipMixin


class StepBranch(BaseOperator, SkipMixin):
    """Skips the tasks of every step that is missing in the form field `steps`.

    It has to stand directly before each task that it may skip, and those tasks need the
    trigger rule `none_failed`: a task skipped here then skips nothing behind it, and stays
    skipped when it is cleared together with others.

    Args:
        tasks: step → ids of the tasks that it consists of.
    """

    inherits_from_skipmixin = True
    ui_color = "#eeeeee"

    def __init__(self, *, tasks: dict[str, list[str]], **kwargs):
        super().__init__(**kwargs)
        self.tasks = tasks

    def execute(self, context: Context) -> None:
        chosen = context["params"]["steps"]
        skipped = [
            task for step, tasks in self.tasks.items() if step not in chosen for task in tasks
        ]
        self.log.info("Chosen: %s. Skipped: %s.", ", ".join(chosen), ", ".join(skipped) or "none")
        self.skip(context["ti"], [self.dag.get_task(task) for task in skipped])
