"""List the dataset versions: each tag of the data with the tags of parameters tuned for it.

Examples:
  breezeway versions
  breezeway versions | jq -r 'keys[]'
"""

import argparse
from typing import Any

from breezeway.core.settings import Settings
from breezeway.datasets import versions


def run(_: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    return {version.tag: list(version.params_tags) for version in versions.list_versions(settings)}
