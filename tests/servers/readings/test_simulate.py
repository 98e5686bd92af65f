"""A simulation in a process of its own, killed."""

import signal
import subprocess
import sys
from datetime import date, timedelta

import pyarrow as pa

from breezeway.readings.plant import simulate
from tests.fixtures.readings import fill_until_wednesday, stored


def test_a_run_that_is_killed_is_finished_by_the_next(settings):
    script = """
from datetime import date
from breezeway.readings.simulate import fill
from breezeway.readings.store import RawStore
from breezeway.core.settings import Settings
append = RawStore.append
def and_tell(*arguments, **options):
    count = append(*arguments, **options)
    print(count, flush=True)
    return count
RawStore.append = and_tell
fill(Settings.from_environment(), end=date(2026, 1, 7), devices=2, days=8)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    rest = fill_until_wednesday(settings, devices=2, days=8)["readings"]
    assert 0 < rest < 16 * 1440
    table = stored(settings)
    assert table.num_rows == 16 * 1440
    whole = pa.concat_tables(
        simulate(f"machine-{number:02}", date(2026, 1, 7) - timedelta(days=ago)).readings
        for number in (1, 2)
        for ago in range(8, 0, -1)
    )
    assert table == whole
