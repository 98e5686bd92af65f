"""The specification of a dataset, which all of preprocessing shares."""

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from breezeway.contract.baselines import Baselines
from breezeway.contract.contract import Contract


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset to make.

    Attributes:
        contract: the checks, and the features.
        query: the source of the readings, for the manifest.
        labels: device, start and end of fault intervals; None if each reading has its label.
        since: readings before this time only fill the windows of later ones.
        baselines: of the devices, where they are known; None: those of the readings themselves.
        keeps_lead_in: whether these are rows too, though nothing counts them: a score may depend
            on the scores before it.
    """

    contract: Contract
    query: str
    labels: pa.Table | None = None
    since: datetime | None = None
    baselines: Baselines | None = None
    keeps_lead_in: bool = False
