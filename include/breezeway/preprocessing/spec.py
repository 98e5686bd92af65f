"""What is to be made of raw readings: the one argument that all of preprocessing shares."""

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from breezeway.contract.contract import Contract


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset to be made.

    Attributes:
        contract: says what is checked, and which features are made.
        query: where the readings come from; it is kept in the manifest.
        labels: device, start and end of fault intervals; None where each reading has its label.
        since: readings before this moment fill the windows of later ones and nothing else.
    """

    contract: Contract
    query: str
    labels: pa.Table | None = None
    since: datetime | None = None
