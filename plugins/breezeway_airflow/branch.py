"""Partial runs: skips the steps that were not chosen, and no other task."""

from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseOperator, Context, SkipMixin


class StepBranch(BaseOperator, SkipMixin):
    """Skips each directly downstream task that the form field `steps` does not name.

    Airflow's own branch operators do not skip a task that is also downstream of a chosen one, so
    in a chain they skip too little. This operator skips every task that was not chosen, also when
    tasks are cleared later. A chosen task needs the trigger rule `none_failed` to run.

    The tasks are skipped at once. So a task that uses the result of a step needs an edge from that
    very step: a chain of skipped tasks would not make it wait.

    Args:
        belongs_to: task id → the step that it is a part of, where the form does not name the task.
    """

    inherits_from_skipmixin = True
    ui_color = "#eeeeee"

    def __init__(self, *, belongs_to: Mapping[str, str], **kwargs: Any):
        super().__init__(**kwargs)
        self.belongs_to = belongs_to

    def execute(self, context: Context) -> None:
        chosen = context["params"]["steps"]
        skipped = [
            t
            for t in self.downstream_list
            if self.belongs_to.get(t.task_id, t.task_id) not in chosen
        ]
        self.log.info(
            "Chosen: %s. Skipped: %s.",
            ", ".join(t.task_id for t in self.downstream_list if t not in skipped),
            ", ".join(t.task_id for t in skipped) or "none",
        )
        self.skip(context["ti"], skipped)
