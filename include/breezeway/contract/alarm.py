"""What the section `[alarm]` of a contract asks for; `docs/alarms.md` explains it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from breezeway.contract.schema import Section


class Alarm(Section):
    """What chooses the threshold: limits, and what is best within them.

    Limits are `false_episodes_per_day` and `max_alarm_share`. Best is the lowest cost, or the
    highest F1; with a budget of false episodes and neither of the two, the lowest threshold, which
    has the earliest alarms; without anything, the highest F1. Without labels there are limits
    alone, of which one has to be named.
    """

    false_episodes_per_day: Annotated[float, Field(gt=0)] | None = None
    """The budget of false alarm episodes, for each device."""
    max_alarm_share: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    """The largest share of normal time that may be in alarm."""
    missed_event_cost: Annotated[float, Field(gt=0)] | None = None
    """What a missed fault costs, in any unit."""
    false_episode_cost: Annotated[float, Field(gt=0)] | None = None
    """What a false alarm episode costs, in the same unit."""
    delay_cost: Annotated[float, Field(ge=0)] = 0.0
    """What each interval between readings costs, from the start of a fault to its first alarm; a
    missed fault is late by its whole length."""
    maximize: Literal["f1"] | None = None
    """The readings' F1 is to be as high as possible; in place of costs."""
    mean_readings: Annotated[int, Field(ge=1, le=50)] = 1
    """The score is the mean of so many readings' scores, the present one included."""
    on_delay_readings: Annotated[int, Field(ge=0, le=50)] = 0
    """An alarm begins when the score has been at the threshold for so many readings before, too."""
    release: Annotated[float, Field(gt=0, lt=1)] | None = None
    """An alarm goes on until the score is below this part of the threshold (hysteresis)."""
    hold_readings: Annotated[int, Field(ge=1, le=50)] | None = None
    """How many readings an alarm goes on at most below the threshold; with `release`."""

    @model_validator(mode="after")
    def _one_aim(self) -> Self:
        costs = (self.missed_event_cost is not None, self.false_episode_cost is not None)
        if any(costs) != all(costs) or (self.delay_cost and not all(costs)):
            raise ValueError(
                "expected both missed_event_cost and false_episode_cost, to which delay_cost may "
                "be added"
            )
        if all(costs) and self.maximize:
            raise ValueError("expected either costs or maximize")
        if (self.release is None) != (self.hold_readings is None):
            raise ValueError("expected release and hold_readings together")
        return self

    @property
    def lookback(self) -> int:
        """How many readings before the present one have a say in its score."""
        return self.mean_readings - 1 + self.on_delay_readings + (self.hold_readings or 0)
