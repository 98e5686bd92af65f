"""Fill the raw store with the readings of a simulated plant.

With the same seed, a day has the same readings in every run. A day that is in the store already is
not simulated again. Days are those of the sensor contract's time zone.

Examples:
  breezeway simulate --days 28
  breezeway simulate --days 28 --drift 6 --drift-from 2026-11-15
"""

import argparse
from typing import Any

from breezeway.core.arguments import day
from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--devices", type=int, default=8, help="machines, 1 to 99 (%(default)s)")
    parser.add_argument("--days", type=int, default=8, help="days before --end (%(default)s)")
    parser.add_argument(
        "--end",
        type=day,
        metavar="YYYY-MM-DD",
        help="the readings end where this day begins (today)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="another seed is another plant (%(default)s)"
    )
    parser.add_argument(
        "--drift",
        type=float,
        default=0.0,
        metavar="CELSIUS",
        help="thermometers read higher by this (%(default)s)",
    )
    parser.add_argument(
        "--drift-from",
        type=day,
        metavar="YYYY-MM-DD",
        help="first day of the drift (the last of the days)",
    )
    parser.add_argument(
        "--bad-share",
        type=float,
        default=0.0,
        help="share of bad payloads, 0 to 1 (%(default)s)",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    _check(arguments)
    from breezeway.readings import simulate  # most of a second, so check first

    return simulate.fill(
        settings,
        devices=arguments.devices,
        days=arguments.days,
        end=arguments.end,
        seed=arguments.seed,
        drift=arguments.drift,
        drift_from=arguments.drift_from,
        bad_share=arguments.bad_share,
    )


def _check(arguments: argparse.Namespace) -> None:
    if not 1 <= arguments.devices <= 99:
        raise UsageError(f"--devices: expected 1 to 99, got {arguments.devices}.")
    if arguments.days < 1:
        raise UsageError(f"--days: expected at least 1, got {arguments.days}.")
    if arguments.seed < 0:
        raise UsageError(f"--seed: expected 0 or more, got {arguments.seed}.")
    if not 0 <= arguments.bad_share <= 1:
        raise UsageError(f"--bad-share: expected 0 to 1, got {arguments.bad_share}.")
    if not -200 <= arguments.drift <= 200:
        raise UsageError(f"--drift: expected -200 to 200 °C, got {arguments.drift}.")
