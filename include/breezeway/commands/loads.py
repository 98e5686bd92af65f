"""List the loads of files that are in the raw store, or take one back.

To take a load back leaves the store as if it had not been: its readings are removed, and those that
it replaced are there again. Readings that another load has too stay, and so do readings that were
there before without a load, such as those that an older release loaded. Those loads are not listed.

Examples:
  breezeway loads
  breezeway loads --take-back 3f2a9c0b71de
"""

import argparse
from typing import Any

from breezeway.contract.contract import load_contract
from breezeway.core.settings import Settings
from breezeway.readings.load_store import LoadStore
from breezeway.readings.source import refuse_writing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--take-back", metavar="LOAD", help="as the list names it, such as 3f2a9c0b71de"
    )


def run(arguments: argparse.Namespace, settings: Settings) -> Any:
    refuse_writing(load_contract(settings.sensors), settings, "loads")
    store = LoadStore(settings.raw_address)
    return store.loads() if arguments.take_back is None else store.take_back(arguments.take_back)
