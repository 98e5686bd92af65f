"""Asks several stores at the same time, and waits for none longer than it may take."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from breezeway.core.errors import BreezewayError


@dataclass(frozen=True)
class Answer:
    """The value that a store gave; without one, the problem in a sentence."""

    value: Any = None
    problem: str = ""


_asked: dict[tuple[str, str], Future[Any]] = {}
"""What has not been answered yet. A store that hangs is asked once, however many people look."""
_lock = threading.Lock()


def ask(
    questions: Mapping[tuple[str, str], Callable[[], Any]], seconds: float
) -> dict[str, Answer]:
    """Ask each question in a thread of its own.

    A question that takes too long goes on in its thread, and whoever asks the same meanwhile waits
    for that one. It must have an end of its own. The threads do not keep a process alive.

    Args:
        questions: name of the store and its address → what asks it.
        seconds: for all together.

    Returns:
        For each store its answer.
    """
    deadline = time.monotonic() + seconds
    asked = {key: _start(key, question) for key, question in questions.items()}
    answers = {}
    for (store, _), future in asked.items():
        try:
            answers[store] = Answer(future.result(max(0.0, deadline - time.monotonic())))
        except TimeoutError:
            answers[store] = Answer(problem=f"No answer within {seconds:g} s.")
        except BreezewayError as error:
            answers[store] = Answer(problem=str(error))
        except Exception as error:  # whatever a store says, the others' facts are shown
            what = f"{type(error).__name__}: {error}"
            answers[store] = Answer(problem=f"Its answer cannot be read ({what}).")
    return answers


def _start(key: tuple[str, str], question: Callable[[], Any]) -> Future[Any]:
    with _lock:
        if known := _asked.get(key):
            return known
        future = _asked[key] = Future()
    threading.Thread(target=_run, args=(key, question, future), daemon=True).start()
    return future


def _run(key: tuple[str, str], question: Callable[[], Any], future: Future[Any]) -> None:
    try:
        value = question()
    except BaseException as error:
        with _lock:
            del _asked[key]
        future.set_exception(error)
    else:
        with _lock:
            del _asked[key]
        future.set_result(value)
