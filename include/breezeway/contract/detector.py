"""What the section `[detector]` of a contract asks for; `docs/families.md` explains it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from breezeway.contract.schema import Section


def _once(families: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(families)) < len(families):
        raise ValueError("the same family twice")
    return families


FamilyName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*( [a-z0-9]+){0,7}$", max_length=60)]
FamilyNames = Annotated[
    tuple[FamilyName, ...], Field(min_length=1, max_length=20), AfterValidator(_once)
]


class Detector(Section):
    """The kind of model."""

    families: Literal["auto"] | FamilyNames = ("boosted trees",)
    """Of those the search of `tune` finds the best one; without it, the first is fitted. `auto` is
    all of Breezeway's own that learn from labels and fit this contract, `boosted trees` first.
    Without labels the default is `["average distance"]`."""
