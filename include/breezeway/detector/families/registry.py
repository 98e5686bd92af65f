"""The families of detectors, by name.

A family of one's own is an entry point of a package, in the group `breezeway.families`:

    [project.entry-points."breezeway.families"]
    "nearest neighbour" = "my_package.nearest:NearestNeighbour"

The package has to be installed wherever a step runs or a server explains alarms. A family of
Breezeway's own is a line of `FAMILIES`.
"""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector.families.family import Family

GROUP = "breezeway.families"
BOOSTED_TREES = "boosted trees"
"""The default, and what models and parameters without a family are of."""
AUTO = "auto"

FAMILIES = {
    BOOSTED_TREES: "boosted_trees:BoostedTrees",
    "mahalanobis distance": "presumed_normal:MahalanobisDistance",
    "principal components": "presumed_normal:PrincipalComponents",
    "nearest neighbours": "presumed_normal:NearestNeighbours",
    "average distance": "presumed_normal:AverageDistance",
}
"""Name → module of this package and class, imported when it is asked for."""


@cache
def family_of(name: str) -> Family:
    """Return the family of a name.

    Raises:
        DataError: there is none.
    """
    if name in FAMILIES:
        module, _, attribute = FAMILIES[name].partition(":")
        family: Family = getattr(import_module(f"{__package__}.{module}"), attribute)()
        return family
    others = entry_points(group=GROUP)
    if name not in others.names:
        known = ", ".join([*FAMILIES, *sorted(others.names)])
        raise DataError(f"detector family {name!r}: not known here. Expected one of {known}.")
    loaded: Family = others[name].load()()
    return loaded


def families_of(contract: Contract) -> list[str]:
    """Return the names of the families that a contract asks for, in its order.

    Raises:
        DataError: there is no such family, or it cannot hold to the contract.
    """
    monotone = bool(contract.train.monotone)
    asked = contract.detector.families
    if asked == AUTO:
        fitting = {name: family_of(name) for name in FAMILIES}
        return [
            name
            for name, family in fitting.items()
            # What learns without labels leaves out what they tell.
            if family.needs_labels and (family.takes_monotone or not monotone)
        ]
    for name in asked:
        if monotone and not family_of(name).takes_monotone:
            raise DataError(
                f"detector.families: {name!r} does not hold to [train.monotone]. Leave one of the "
                "two out."
            )
    return list(asked)
