"""What we use of pyarrow that it does not promise: that it looks for pandas only once.

The first `pa.array` of a list imports pandas, to see whether the list is one of its objects. That
is 0.6 CPU-seconds, a fifth of what a small step takes, for a library that the step never uses.
There is no public way to do without (apache/arrow#34994). pyproject.toml bounds the version, and
tests/pure/core/test_pyarrow_parts.py fails when an upgrade changes this.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder

import pyarrow as pa


class _WithoutPandas(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is left out for now", name=name)


def leave_out_pandas() -> None:
    """Let pyarrow find no pandas, so that it is not loaded before something else needs it.

    For a process that gives pyarrow nothing of pandas'; `to_pandas` works all the same.
    """
    if "pandas" in sys.modules:
        return
    finder = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(finder)
