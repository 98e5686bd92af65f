"""Which of the tasks that wait for a slot goes first.

Runs of the same priority keep their order: the run that is longest under way gets the next slot,
whichever of its tasks it is. With Airflow's own rule, by the number of tasks downstream, all runs
would do their first task before any does its second.
"""

from typing import TYPE_CHECKING, Any

from airflow.task.priority_strategy import PriorityWeightStrategy

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance

BACKFILL = "backfill__"
"""How Airflow begins the ids of a backfill's runs."""


class BackfillsWait(PriorityWeightStrategy):
    """A task has the weight that its DAG gives it; in a backfill half of it."""

    def get_weight(self, ti: "TaskInstance") -> int:
        weight: int = ti.task.priority_weight  # type: ignore[union-attr]
        return weight // 2 if ti.run_id.startswith(BACKFILL) else weight


def _priority(weight: int) -> dict[str, Any]:
    # By its path: of an instance Airflow's mapped operators keep only what `str` says.
    return {"priority_weight": weight, "weight_rule": f"{__name__}.{BackfillsWait.__name__}"}


SERVICE = _priority(100)
"""What changes the model in service: a rollback must not wait for a training."""
NIGHTLY = _priority(40)
"""What makes and checks the last day; in a backfill it comes after tonight's."""
TRAINING = _priority(10)
"""Everything else."""
