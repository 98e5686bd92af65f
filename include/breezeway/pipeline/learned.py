"""What a model takes from a dataset version: the contract that it carries, and what fits it.

With `[features] auto` a dataset has all candidates. A model has those that `tune` chose for it,
in a contract that names them, so its server computes no others.
"""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

from breezeway.contract.baselines import BASELINES_FILE, read_baselines, write_baselines
from breezeway.contract.candidates import explicit
from breezeway.contract.contract import Contract, load_contract
from breezeway.core.errors import DataError
from breezeway.datasets.versions import OpenedVersion

log = logging.getLogger("breezeway")


def learned_contract(version: OpenedVersion) -> Contract:
    """The contract of the models of a version: that of the dataset or, with `[features] auto`, the
    one whose features were chosen with the parameters. Without parameters, its own features.

    Raises:
        DataError: the parameters name features that the dataset does not have, or change more of
            its contract than the features.
    """
    contract = load_contract(version.folder / "contract.toml")
    if not contract.features.auto:
        return contract
    text = (version.params or {}).get("contract")
    if text is None:
        log.warning(
            "[features] auto: no features were chosen for %s: the contract's own are used. To have "
            "some chosen, run tune on a version with labels.",
            version.tag,
        )
        return explicit(contract)
    source = f"params.json of {version.params_tag}: contract"
    if not isinstance(text, str):
        raise DataError(f"{source}: expected text; run tune again.")
    chosen = Contract.from_text(text, source)
    same, other = (each.model_dump(exclude={"features", "text"}) for each in (contract, chosen))
    unknown = [name for name in chosen.feature_names if name not in contract.feature_names]
    if chosen.features.auto or unknown or same != other:
        differs = ["features.auto"] if chosen.features.auto else unknown[:1]
        differs += [key for key in same if same[key] != other[key]][:1]
        raise DataError(
            f"{source}: {', '.join(differs)} is not as in dataset {version.tag}: run tune again."
        )
    return chosen


def examples_of(folder: Path) -> list[dict[str, Any]]:
    """The recorded readings of a dataset folder.

    Raises:
        DataError: there are none.
    """
    path = folder / "examples.json"
    if not path.is_file():
        raise DataError(f"{folder}: expected examples.json, the recorded readings; found none.")
    examples: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    if not examples:
        raise DataError(f"{path}: expected recorded readings, found an empty list.")
    return examples


def learned_examples(folder: Path, contract: Contract) -> list[dict[str, Any]]:
    """The same with the features that a contract names alone.

    Args:
        contract: from `learned_contract`.
    """
    examples, whole = examples_of(folder), load_contract(folder / "contract.toml")
    if not whole.features.auto:
        return examples
    places = [whole.feature_names.index(name) for name in contract.feature_names]
    for example in examples:
        example["features"] = [example["features"][place] for place in places]
        if "before" in example:
            example["before"] = [[row[place] for place in places] for row in example["before"]]
    return examples


def copy_baselines(folder: Path, contract: Contract, target: Path) -> None:
    """Copy the baselines of devices, of the features that a contract compares with one alone.

    Args:
        folder: of the dataset.
        contract: from `learned_contract`.
        target: a folder.
    """
    whole = load_contract(folder / "contract.toml")
    if not whole.features.auto:
        shutil.copyfile(folder / BASELINES_FILE, target / BASELINES_FILE)
        return
    names = {column.name for column in contract.baseline_columns}
    baselines = {
        device: own
        and own.model_copy(
            update={"features": {key: own.features[key] for key in own.features if key in names}}
        )
        for device, own in read_baselines(whole, folder).items()
    }
    write_baselines(baselines, target)
