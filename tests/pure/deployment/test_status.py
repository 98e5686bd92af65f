"""What a model server says of itself, as it is written and read."""

from datetime import UTC, datetime

import orjson
import pytest

from breezeway.deployment.status import (
    ChallengerStatus,
    Failure,
    ServerStatus,
    TrialStatus,
    read_status,
)
from breezeway.deployment.store import Challenger
from breezeway.serving.metrics import Tally

DEPLOYED_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
CANARY = Challenger(
    model_name="pump",
    model_version="2",
    deployment="2-abc",
    bento="pump:2-abc",
    data_tag="v1",
    sha256="0" * 64,
    deployed_at=DEPLOYED_AT,
    mode="canary",
    share=0.1,
)
LIVE = ChallengerStatus("2", "2-abc", "pump:2-abc", "v1", "canary", 0.1, "2026-03-01T12:00:01")


def test_it_is_read_as_it_was_written():
    tally = Tally()
    tally.latency.observe(0.002)
    tally.feedback[True, False] += 3
    counts = tally.counted()
    assert counts.feedback.false_alarms == 3
    status = ServerStatus(
        model="pump",
        threshold=0.4,
        swaps=2,
        failure=Failure("1-abc", DEPLOYED_AT.isoformat(), "it is damaged", "2026-03-01"),
        challenger=LIVE,
        trial=TrialStatus("2026-03-01T12:00:01", counts, counts),
    )
    assert read_status(orjson.dumps(status)) == status


def test_a_server_of_another_release_may_say_more():
    assert read_status(b'{"model": "pump", "mood": "good"}') == ServerStatus(model="pump")


@pytest.mark.parametrize(
    ("content", "field"),
    [(b"<html>", "content"), (b'{"swaps": "many"}', "swaps"), (b'{"trial": {}}', "trial.since")],
)
def test_what_is_no_status_is_named(content, field):
    with pytest.raises(ValueError, match=f"^{field}: "):
        read_status(content)


def test_a_trial_is_that_of_a_deployment_in_a_mode():
    status = ServerStatus(challenger=LIVE)
    assert status.tries(CANARY)
    more = CANARY.model_copy(update={"share": 0.2})
    assert (status.has(more), status.tries(more)) == (True, False)
    for change in ({"mode": "shadow"}, {"deployment": "3-abc"}):
        other = CANARY.model_copy(update=change)
        assert (status.has(other), status.tries(other)) == (False, False)
    assert not ServerStatus().has(CANARY)


def test_a_failure_is_that_of_one_move_of_the_pointer():
    failure = Failure("2-abc", DEPLOYED_AT.isoformat(), "it is damaged", "2026-03-01")
    assert failure.concerns(CANARY)
    assert not failure.concerns(CANARY.model_copy(update={"deployed_at": datetime.now(UTC)}))
