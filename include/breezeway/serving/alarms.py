"""Says in an answer why an alarm rang, once the answer itself is made."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from breezeway.serving.metrics import Tally
from breezeway.serving.predict import LiveModel
from breezeway.serving.refusal import Refusal
from breezeway.serving.window import Flags, Known, Readings

log = logging.getLogger("breezeway.serving")


@dataclass(frozen=True)
class Alarm:
    """An answer that is an alarm, with what explains it.

    Args:
        answer: is extended.
        row: the features of the last reading.
        device, readings: as they stand in the request.
        live: the model that answered.
        tallies: count the first reason.
        known: payloads that were parsed for the answer.
    """

    answer: dict[str, Any]
    row: np.ndarray
    device: str
    readings: Readings
    live: LiveModel
    tallies: tuple[Tally, ...]
    known: Known | None

    def explain(self, *, each: bool) -> None:
        """Add `why` and `reason` to the answer.

        An error is logged, never raised: the client gets its alarm in any case.

        Args:
            each: even if the alarm goes on from the reading before.
        """
        try:
            if not each and self._goes_on():
                return
            reasons = self.live.explainer.reasons(self.row)
        except Exception:
            log.exception("%s: an alarm is not explained", self.live.deployment.bento)
            return
        self.answer["why"] = [reason.told() for reason in reasons]
        self.answer["reason"] = "; ".join(reason.sentence for reason in reasons)
        for tally in self.tallies:
            tally.reasons.update(reason.field for reason in reasons[:1])

    def _goes_on(self) -> bool:
        """Whether the same request without its last reading is an alarm too, and holds all the
        readings that its score needs. The server keeps no state, so it knows no more."""
        before, flags = self.readings[:-1], Flags()
        if len(before) < self.live.model.contract.request_readings:
            return False
        try:
            rows = self.live.features(self.device, before, flags, self.known)
        except Refusal:
            return False
        if any(flag["reason"] == "short_window" for flag in flags):
            return False
        return self.live.score_rows(rows) >= self.live.model.threshold
