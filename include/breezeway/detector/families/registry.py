"""The families of detectors, by name.

A family of one's own is an entry point of a package, in the group `breezeway.families`:

    [project.entry-points."breezeway.families"]
    "nearest neighbour" = "my_package.nearest:NearestNeighbour"

The package has to be installed wherever a step runs or a server explains alarms. A family of
Breezeway's own is an entry of `FAMILIES`.
"""

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points

from breezeway.contract.contract import Contract
from breezeway.core.errors import DataError
from breezeway.detector.families.family import Family

GROUP = "breezeway.families"
BOOSTED_TREES = "boosted trees"
"""The default, and what models and parameters without a family are of."""
AUTO = "auto"
WITHOUT_LABELS = "average distance"
"""The default of a contract without labels."""


def _boosted_trees() -> Family:
    from breezeway.detector.families.boosted_trees import BoostedTrees

    return BoostedTrees()


def _forest() -> Family:
    from breezeway.detector.families.forest import Forest

    return Forest()


def _neural_network() -> Family:
    from breezeway.detector.families.neural_network import NeuralNetwork

    return NeuralNetwork()


def _logistic_regression() -> Family:
    from breezeway.detector.families.logistic_regression import LogisticRegression

    return LogisticRegression()


def _mahalanobis_distance() -> Family:
    from breezeway.detector.families.presumed_normal import MahalanobisDistance

    return MahalanobisDistance()


def _principal_components() -> Family:
    from breezeway.detector.families.presumed_normal import PrincipalComponents

    return PrincipalComponents()


def _nearest_neighbours() -> Family:
    from breezeway.detector.families.presumed_normal import NearestNeighbours

    return NearestNeighbours()


def _average_distance() -> Family:
    from breezeway.detector.families.presumed_normal import AverageDistance

    return AverageDistance()


FAMILIES: dict[str, Callable[[], Family]] = {
    BOOSTED_TREES: _boosted_trees,
    "forest": _forest,
    "logistic regression": _logistic_regression,
    "neural network": _neural_network,
    "mahalanobis distance": _mahalanobis_distance,
    "principal components": _principal_components,
    "nearest neighbours": _nearest_neighbours,
    "average distance": _average_distance,
}
"""Name → what imports the family, when it is asked for."""


@cache
def family_of(name: str) -> Family:
    """Return the family of a name.

    Raises:
        DataError: there is none.
    """
    if name in FAMILIES:
        return FAMILIES[name]()
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
    if not contract.has_labels and "families" not in contract.detector.model_fields_set:
        asked = (WITHOUT_LABELS,)
    if asked == AUTO:
        fitting = {name: family_of(name) for name in FAMILIES}
        return [
            name
            for name, family in fitting.items()
            # What learns without labels leaves out what they tell.
            if family.needs_labels and (family.takes_monotone or not monotone)
        ]
    for name in asked:
        if not contract.has_labels and family_of(name).needs_labels:
            raise DataError(
                f"detector.families: {name!r} learns from labels, and the contract has no [label]. "
                f'Name one that needs none, such as ["{WITHOUT_LABELS}"], or labels.'
            )
        if not family_of(name).takes_monotone and monotone:
            raise DataError(
                f"detector.families: {name!r} does not hold to [train.monotone]. Leave one of the "
                "two out."
            )
    return list(asked)
