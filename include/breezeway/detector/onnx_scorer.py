"""Scores rows by an ONNX graph: the one way in which a score comes about, in history and requests.

A graph has the input `features`, float32 (rows, features), in which NaN is missing; the output
`score`, float32 (rows,), a probability; and the names of its features in its metadata. Whatever a
detector was fitted by, what scores is such a graph.
"""

import json
import os

import numpy as np

from breezeway.core.errors import DataError

# ONNX Runtime reports its use to its maker unless this is set before its import, and keeps a file
# of what it has to report in the home folder.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

INPUT, OUTPUT = "features", "score"
FEATURE_NAMES = "breezeway.feature_names"
"""The key of the metadata that holds the names of the features, as a list in JSON."""

SESSION = {"intra_op_num_threads": 1, "inter_op_num_threads": 1, "execution_mode": "sequential"}
"""How a graph is run, in MLflow's words. With more threads the trees of a single row are summed up
in another order than those of many rows, and the last bits of a score depend on how many rows are
scored together: docs/decisions/onnx.md."""

BLOCK_ROWS = 8192
"""Scored at once: of a neural network a row takes kilobytes."""


class OnnxScorer:
    """Scores rows; a row gets the same bits by itself and among others.

    Several threads may call it at the same time.

    Args:
        graph: the bytes of the graph.

    Raises:
        DataError: they are no graph of this kind.
    """

    def __init__(self, graph: bytes):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = SESSION["intra_op_num_threads"]
        options.inter_op_num_threads = SESSION["inter_op_num_threads"]
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3  # an error is raised, and what is below it helps nobody
        try:
            # Its errors have no class in common.
            self.session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
            about = self.session.get_modelmeta().custom_metadata_map
        except Exception as error:
            raise DataError(f"ONNX Runtime does not load the graph: {error}") from None
        sides = (self.session.get_inputs(), self.session.get_outputs())
        found = [[(each.name, each.type) for each in side] for side in sides]
        if found != [[(INPUT, "tensor(float)")], [(OUTPUT, "tensor(float)")]]:
            raise DataError(
                f"The graph takes and gives {found}, expected {INPUT} and {OUTPUT} in float32."
            )
        if FEATURE_NAMES not in about:
            raise DataError(f"The graph's metadata has no {FEATURE_NAMES}.")
        self.feature_names = _names(about[FEATURE_NAMES])

    def score(self, features: np.ndarray) -> np.ndarray:
        """Return float64 (rows,): each row's probability of being positive.

        Args:
            features: float64 or float32 (rows, features) in the order of `feature_names`; NaN is
                missing.
        """
        score = np.empty(len(features))
        with np.errstate(over="ignore"):  # what is too large for float32 is infinite there
            rows = np.ascontiguousarray(features, dtype=np.float32)
        for start in range(0, len(rows), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            score[block] = self.session.run([OUTPUT], {INPUT: rows[block]})[0]
        return score


def _names(text: str) -> list[str]:
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"The graph's {FEATURE_NAMES} is no list of names: {text[:100]!r}.")
    return names
