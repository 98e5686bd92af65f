"""What the deployment store and a model server say together."""

import dataclasses
from datetime import UTC, datetime

from breezeway.deployment.status import Failure, ServerStatus
from breezeway.pipeline.overview_service import InService, merge, plain

SINCE = datetime(2026, 5, 1, tzinfo=UTC)
DEPLOYED = InService("2", SINCE, "data-2", request="{}")


def test_the_server_knows_the_threshold():
    status = ServerStatus("pump", "2", threshold=0.25, loaded_at="2026-05-02T00:00:00+00:00")
    assert merge({"pump": DEPLOYED}, {"pump": status}) == {
        "pump": dataclasses.replace(DEPLOYED, threshold=0.25)
    }


def test_a_server_that_still_serves_another_version_is_a_problem():
    failure = Failure("3-x", "", "the file is missing", "")
    merged = merge({"pump": DEPLOYED}, {"pump": ServerStatus("pump", "1", threshold=0.5)})["pump"]
    assert (merged.problem, merged.threshold) == ("The server still serves version 1.", None)
    merged = merge({"pump": DEPLOYED}, {"pump": ServerStatus("pump", "1", failure=failure)})
    assert merged["pump"].problem == "the file is missing"


def test_either_alone_is_enough():
    assert merge({"pump": DEPLOYED}, None) == {"pump": DEPLOYED}
    status = ServerStatus("pump", "2", data_tag="d", loaded_at="2026-05-01T00:00:00+00:00")
    assert merge(None, {"pump": status}) == {"pump": InService("2", SINCE, "d")}


def test_a_text_of_a_store_is_one_short_line_without_control_characters():
    assert plain("a\x1b[31m\nb\u202e", 20) == "a [31m b "
    assert plain("x" * 10**6, 5) == "xxxx…"
