"""Why a request gets no prediction."""

from typing import Any, Self

from breezeway.contract.values import Violation


class Refusal(Exception):
    """A request that gets no prediction.

    Args:
        status: the HTTP status: a 4xx, or 503 where the model is not there yet.
        error: one sentence for the client.
        details: for programs: `field`, `reading` (its index), `reason`.
    """

    def __init__(self, status: int, error: str, **details: str | int):
        super().__init__(error)
        self.status = status
        self.body = {"error": error, **details}

    @classmethod
    def of(cls, violation: Violation, reading: int | None = None) -> Self:
        """Of a request whose device, or the reading to be scored, breaks the contract."""
        details: dict[str, str | int] = {"field": violation.field, "reason": violation.reason}
        where = ""
        if reading is not None:
            details["reading"] = reading
            where = f"readings[{reading}]: "
        return cls(422, f"{where}{violation}.", **details)

    def as_item(self) -> dict[str, Any]:
        """The item of a batch's answer that replaces the prediction."""
        return {**self.body, "status": self.status}
