"""Evidently's reports for a person: how distributions differ, and how a classifier does.

Evidently's tests assume that neighbouring readings are independent, so they find drift on quiet
days too. They show how a distribution has changed, but they do not decide anything.
"""

import base64
import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from breezeway.core.errors import DataError
from breezeway.core.files import write_text

SAMPLE_ROWS = 2_000
"""Rows of each side in a report: enough for its tests and plots, and few enough to be fast."""


def sample(batches: Iterable[pa.RecordBatch], count: int) -> pa.Table:
    """Evenly spaced rows: the same ones each time, and no others in memory.

    Args:
        batches: if there are none, the result is an empty table without columns.
        count: about how many rows they have; about `SAMPLE_ROWS` of them are taken.
    """
    step = max(1, count // SAMPLE_ROWS)
    pieces: list[pa.RecordBatch] = []
    seen = 0
    for batch in batches:
        wanted = np.arange(-seen % step, len(batch), step)
        pieces.append(batch.take(pa.array(wanted)))
        seen += len(batch)
    return pa.Table.from_batches(pieces) if pieces else pa.table({})


def report_drift(
    reference: pa.Table, current: pa.Table, columns: list[str], folder: Path, preface: str = ""
) -> None:
    """Write Evidently's `drift.html` and `drift.json` on how `columns` differ.

    The page has a table of the columns with their distributions, the file what share has drifted by
    Evidently's tests. Columns without values on one of the sides are left out.

    Args:
        reference: rows of the training data.
        current: recent rows.
        columns: float64 columns of both.
        folder: where the files go.
        preface: HTML that stands before Evidently's part.

    Raises:
        DataError: no column has values on both sides.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    class DriftTable(DataDriftPreset):  # type: ignore[no-untyped-call]
        def generate_metrics(self, context: Any) -> Any:
            """Without those of single columns: it draws each in the table as well."""
            return super().generate_metrics(context)[:1]

    columns = [
        name
        for name in columns
        if all(np.isfinite(side[name].to_numpy()).any() for side in (reference, current))
    ]
    if not columns:
        raise DataError("Not one feature has a value on both sides: there is nothing to compare.")
    definition = DataDefinition(numerical_columns=columns)
    new, old = (
        Dataset.from_pandas(side.select(columns).to_pandas(), data_definition=definition)
        for side in (current, reference)
    )
    _write(Report([DriftTable(columns=columns)]).run(new, old), folder / "drift", preface)


def report_classification(
    label: np.ndarray, score: np.ndarray, threshold: float, folder: Path
) -> None:
    """Write `classification.html` and `classification.json` on a model's alarms.

    Args:
        label: int8 (rows,), both classes.
        score: float64 (rows,), probabilities.
        threshold: a row with at least this score is in alarm.
        folder: where the files go.
    """
    import pandas as pd
    from evidently import BinaryClassification, DataDefinition, Dataset, Report
    from evidently.presets import ClassificationPreset

    frame = pd.DataFrame({"label": label.astype(int), "score": score})
    definition = DataDefinition(
        numerical_columns=["score"],
        classification=[BinaryClassification(target="label", prediction_probas="score")],
    )
    data = Dataset.from_pandas(frame, data_definition=definition)
    snapshot = Report([ClassificationPreset(probas_threshold=threshold)]).run(data, None)
    _write(snapshot, folder / "classification")


UNPACK = """
const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
new Response(stream).text().then((page) => {
  document.open();
  document.write(page);
  document.close();
});
"""


def _write(snapshot: Any, path: Path, preface: str = "") -> None:
    page = snapshot.get_html_str(as_iframe=False)
    write_page(path.with_suffix(".html"), page, preface)
    snapshot.save_json(str(path.with_suffix(".json")))


def write_page(path: Path, page: str, preface: str = "") -> None:
    """Write a page that a browser unpacks when it is opened.

    Nearly all of Evidently's 4 to 5 MB is its script library, the same in each report. Packed,
    a report has a third of that, and is still one file that opens anywhere.

    Args:
        page: a complete HTML page.
        preface: HTML for the start of its body; it is readable without scripts as well.
    """
    whole = page.replace("<body>", "<body>" + preface, 1)
    packed = base64.b64encode(gzip.compress(whole.encode(), mtime=0)).decode()
    write_text(
        path,
        f"<!doctype html><html><head><meta charset='utf-8'></head><body>{preface}"
        "<noscript>The plots need JavaScript.</noscript>"
        f'<script>const packed = "{packed}";{UNPACK}</script></body></html>\n',
    )
