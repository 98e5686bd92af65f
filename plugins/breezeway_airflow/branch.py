"""Partial runs: skips the steps that were not chosen, and nothing else."""

from collections.abc import Mapping
from typing import Any

from airflow.sdk import BaseOperator, Context, SkipMixin


class StepBranch(BaseOperator, SkipMixin):
    """Skips each task directly behind it that the form field `steps` does not name.

    Airflow's own branch operators spare what also stands behind a chosen task, so in a chain
    they would skip too little. This one skips all that was not chosen, also when tasks are
    cleared later; a chosen task with the trigger rule `none_failed` is not held up by it.

    What is skipped is skipped at once. So whoever takes something from a step needs an edge
    from that very step: along the chain, skipped tasks hold nobody back.

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
