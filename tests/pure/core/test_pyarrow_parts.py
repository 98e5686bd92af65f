import subprocess
import sys

CODE = """
import sys
import pyarrow as pa
from breezeway.core.pyarrow_parts import leave_out_pandas
{call}
pa.array([1, None])
print("pandas" in sys.modules)
frame = pa.table({{"a": [1, 2]}}).to_pandas()
print(type(frame).__module__.partition(".")[0], pa.Table.from_pandas(frame).num_rows)
"""


def ask(call: str) -> list[str]:
    command = [sys.executable, "-c", CODE.format(call=call)]
    return subprocess.check_output(command, text=True).splitlines()


def test_a_list_loads_no_pandas_and_who_asks_for_it_gets_it():
    assert ask("leave_out_pandas()") == ["False", "pandas 2"]


def test_pyarrow_loads_it_by_itself():
    """Once it does not, the module has no reason any more."""
    assert ask("") == ["True", "pandas 2"]


def test_a_process_that_has_pandas_keeps_it():
    assert ask("import pandas; leave_out_pandas(); import pandas") == ["True", "pandas 2"]
