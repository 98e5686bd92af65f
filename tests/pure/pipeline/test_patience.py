"""Stores are asked at the same time, and nobody waits for one that hangs."""

import threading
import time

import pytest

from breezeway.core.errors import ServiceUnavailable
from breezeway.pipeline.patience import Answer, ask


@pytest.fixture
def gate():
    """Opens at the end of the test, so that no thread hangs on."""
    opened = threading.Event()
    yield opened
    opened.set()


def test_one_that_hangs_does_not_hide_the_others(gate):
    answers = ask({("slow", "a"): gate.wait, ("fast", "b"): lambda: 7}, 0.2)
    assert answers == {"slow": Answer(problem="No answer within 0.2 s."), "fast": Answer(7)}


def test_one_that_hangs_is_asked_once_and_its_answer_is_taken_later(gate):
    asked = []

    def slow() -> int:
        asked.append(1)
        gate.wait()
        return 7

    for _ in range(3):
        assert ask({("store", "x"): slow}, 0.05)["store"].problem
    gate.set()
    assert ask({("store", "x"): slow}, 10)["store"].value == 7
    assert len(asked) <= 2  # the second, if the first had ended before the last question


def test_all_together_take_no_longer_than_one_may(gate):
    began = time.monotonic()
    answers = ask({(f"store {n}", "y"): gate.wait for n in range(20)}, 0.3)
    assert all(answer.problem for answer in answers.values())
    assert time.monotonic() - began < 20 * 0.3 / 2


def test_errors_are_sentences():
    def away():
        raise ServiceUnavailable("It is away.")

    def broken():
        return {}["models"]

    answers = ask({("away", "z"): away, ("broken", "z"): broken}, 10)
    assert answers["away"].problem == "It is away."
    assert answers["broken"].problem == "Its answer cannot be read (KeyError: 'models')."
