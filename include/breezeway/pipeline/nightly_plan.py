"""What a check of several nights would do, and how long it would take."""

from datetime import date, timedelta
from typing import Any

from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings
from breezeway.pipeline.in_service import find_judge
from breezeway.readings.store import open_store
from breezeway.tracking.nights import checked_nights

RATE_NIGHTS = 7
"""An estimate is made from so many nights that were checked last."""


def plan(settings: Settings, first: date, last: date) -> dict[str, Any]:
    """For each night its rows, which version judges it and why, and what was found before.

    Raises:
        DataError: the deployment store's record cannot be read.
        ServiceUnavailable: MLflow or the raw store does not answer.
    """
    contract = load_contract(settings.sensors)
    model_name = contract.name
    counts = open_store(settings).count_by_day(first, last, contract.zone)
    checked = checked_nights(settings, model_name)
    nights = []
    for number in range((last - first).days + 1):
        night = first + timedelta(days=number)
        judge = find_judge(settings, model_name, night)
        before = checked.get(night)
        nights.append(
            {
                "night": night.isoformat(),
                "rows": counts.get(night, 0),
                "model_version": judge.version if judge else None,
                "judged_by": judge.why if judge else f"{model_name!r} has no champion yet.",
                "checked": before.verdict if before else None,
            }
        )
    times = [each.seconds for each in list(checked.values())[-RATE_NIGHTS:] if each.seconds]
    return {"nights": nights, "rows": sum(counts.values()), **_estimate(len(nights), times)}


def _estimate(nights: int, times: list[float]) -> dict[str, Any]:
    """The time that nights take, one after the other."""
    if not times:
        return {"seconds": "unknown", "estimated_from": "nothing: none was checked before"}
    each = sum(times) / len(times)
    return {"seconds": round(nights * each, 1), "estimated_from": f"{each:.1f} seconds a night"}
