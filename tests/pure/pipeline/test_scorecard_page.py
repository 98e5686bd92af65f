"""The page of a test's figures says all that the JSON beside it says, and says it safely."""

from dataclasses import replace
from typing import Any

import pytest

from breezeway.detector.alarm_rate import NOT_JUDGED
from breezeway.detector.scorecard import Scorecard
from breezeway.pipeline.scorecard_page import draw
from breezeway.tracking.gate import Difference, Evidence, KeptPromise

CARD = Scorecard(
    rows=12_345,
    events=38,
    events_hit=28,
    events_hit_promptly=17,
    horizon_seconds=600,
    false_episodes=41,
    false_episodes_per_normal_hour=0.0123,
    false_alarm_rate=0.0456,
    missed_share=0.3211,
    precision=0.712,
    recall=0.679,
    f1=0.695,
    average_precision=0.776,
    median_delay_seconds=1800,
    p90_delay_seconds=10_800,
)
SHOWN = (
    "12,345", "28 of 38", "17 within 10 minutes", "30 minutes", "3 hours", "41", "0.0123", "4.56%",
    "0.712", "0.679", "32.11%", "0.695", "0.776",
)  # fmt: skip
NONE = replace(CARD, **{n: None for n, v in vars(CARD).items() if isinstance(v, float)})
EVIDENCE = Evidence(
    labelled=True,
    champion="3",
    query="SELECT device, time, payload FROM readings",
    rows=20_000,
    tested_at="2026-05-01T10:00:00+00:00",
    average_precision=0.776,
    baseline={"always_on": 0.1, "clock_only": 0.2, "random": 0.11, "learned_clock": 0.234},
    champion_average_precision=0.765,
    difference=Difference(0.011, -0.013, 0.037),
    drifted=2,
    trained_on="2026-04-27T00:00:00+00:00",
    refit=True,
    beside_clock="The clock is close.",
)
PROMISE = KeptPromise(
    episodes=9, device_days=4, low=1.5, high=3.5, budget=1, share=0.02, share_low=0.01,
    max_share=0.05, replayed=True,
)  # fmt: skip


def page(evidence: Evidence = EVIDENCE, **cards: Scorecard) -> str:
    return draw("plant", "4", 0.817, evidence, cards)


def test_each_figure_of_each_detector_is_there() -> None:
    drawn = page(model=CARD, always_on=NONE, champion=replace(CARD, f1=0.333))
    cells = [line.split("<td")[1:] for line in drawn.splitlines() if "<td" in line]
    of_own = [line[0] for line in cells]
    assert [text.partition(">")[2] for text in of_own] == list(SHOWN)
    assert all(text.startswith(" class='n own'>") for text in of_own)
    # The champion stands beside the version that it is compared with.
    assert drawn.index("champion, version 3") < drawn.index("always in alarm")
    assert [line[1].partition(">")[2] for line in cells if "0.695" in line[0]] == ["0.333"]
    assert [line[2].partition(">")[2] for line in cells if "0.776" in line[0]] == ["-"]


def test_the_evidence_is_in_words() -> None:
    drawn = page(replace(EVIDENCE, promise=PROMISE), model=CARD)
    for words in (
        EVIDENCE.query, "20,000", EVIDENCE.tested_at, "readings before 2026-04-27", "version 3",
        "0.776 against 0.765", "+0.011, 95 % interval -0.013 to +0.037", "0.234",
        "The clock is close.", "2 columns", "was fitted on all readings", PROMISE.measured,
        "more than the 1 a day that are promised",
    ):  # fmt: skip
        assert words in drawn


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"has_labels": False}, NOT_JUDGED),
        ({"labelled": False}, "test again with a query of readings of both kinds"),
        ({"champion": None, "difference": None}, "<dt>Champion then<dd>none"),
        ({"drifted": 0}, "no columns"),
    ],
)
def test_what_is_missing_is_said(changed: dict[str, Any], said: str) -> None:
    drawn = page(replace(EVIDENCE, **changed))
    assert said in drawn
    assert "<table" not in drawn


def test_text_of_others_is_escaped() -> None:
    bad = "<script>alert('x')</script>"
    evidence = replace(EVIDENCE, query=bad, champion=bad, beside_clock=bad, trained_on=bad)
    drawn = draw(bad, bad, 0.5, evidence, {"model": CARD, "champion": CARD})
    assert "<script" not in drawn
    assert drawn.count("&lt;script&gt;") >= 6
