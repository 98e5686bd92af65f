"""Loads a deployed model, first in a process that may crash.

    python -m breezeway.serving.loading FOLDER NICENESS < DEPLOYMENT

The libraries that score and explain may not check all of what they read: a damaged file can end the
process, or keep it for ever. So a deployment is loaded by a process of its own before the pointer
moves to it, and again by a server that does not know that this went well with the same software.
"""

import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from breezeway.core.errors import DataError
from breezeway.deployment.store import SCORE_TOLERANCE, Served
from breezeway.serving.predict import LiveModel
from breezeway.serving.refusal import Refusal

PROOF_SECONDS = 60.0
"""Import, loading and the examples take about two seconds of a core."""
PROOF_MEMORY_BYTES = 8 << 30
"""Addresses, most of which are never used: libraries and the stacks of threads."""
PROOF_OUTPUT_BYTES = 1 << 20
SHOWN_CHARACTERS = 500

LIBRARIES = {"ONNX Runtime": "onnxruntime", "XGBoost": "xgboost-cpu", "NumPy": "numpy"}
"""What reads a model's files and computes with them, and its distribution."""

SOFTWARE = ", ".join([*(f"{n} {version(d)}" for n, d in LIBRARIES.items()), platform.machine()])
"""What decides whether a model loads, beside its files."""

KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_", "PYTHON", "LD_LIBRARY_PATH", "DYLD_", "TMPDIR")


def load(folder: Path, deployment: Served) -> LiveModel:
    """Load a model and let it score the examples that were recorded when it was trained.

    This also warms the model up: the first request runs nothing for the first time.

    Raises:
        DataError: the folder holds no whole model, no example, or one that scores otherwise
            than was recorded.
    """
    from breezeway.detector.scoring import load_folder  # ONNX Runtime, for a worker alone

    model = load_folder(folder, deployment.model_version)
    live = LiveModel(model, deployment, datetime.now(UTC))
    if not model.examples:
        raise DataError("examples.json: no example was recorded at training.")
    for index, example in enumerate(model.examples):
        try:
            score = live.score(example["device"], example["readings"])
        except Refusal as refusal:
            raise DataError(f"examples.json: [{index}]: the model refuses it: {refusal}") from None
        if not abs(score - example["score"]) <= SCORE_TOLERANCE:
            raise DataError(
                f"examples.json: [{index}]: the score is {score!r}, at training it was "
                f"{example['score']!r}."
            )
    # The first alarm, too, is to run nothing for the first time.
    live.explainer.reasons(live.features(example["device"], example["readings"], [])[-1])
    return live


def prove(folder: Path, deployment: Served, niceness: int = 0) -> None:
    """Load a model in a process of its own, with limits of time and memory.

    Args:
        niceness: of that process, 0 to 19; a server answers requests meanwhile.

    Raises:
        DataError: it does not load, crashes that process, or takes too long.
    """
    command = [sys.executable, "-m", "breezeway.serving.loading", str(folder), str(niceness)]
    variables = {k: v for k, v in os.environ.items() if k.startswith(KEPT_VARIABLES)}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            process.communicate(deployment.model_dump_json().encode(), PROOF_SECONDS)
        except subprocess.TimeoutExpired:
            raise DataError(
                f"{deployment.bento}: the model does not load within {PROOF_SECONDS:.0f} s."
            ) from None
        finally:
            process.kill()
            process.wait()
        if process.returncode == 0:
            return
        output.seek(-min(output.tell(), 4 * SHOWN_CHARACTERS), os.SEEK_END)
        said = output.read().decode(errors="replace").strip()
    if process.returncode == DataError.exit_code:
        raise DataError(f"{deployment.bento}: {said[-SHOWN_CHARACTERS:]}")
    ended = (
        f"signal {signal.Signals(-process.returncode).name}"
        if process.returncode < 0
        else f"exit code {process.returncode}"
    )
    last = said.splitlines()[-1][-SHOWN_CHARACTERS:] if said else "it said nothing"
    raise DataError(
        f"{deployment.bento}: the model ends the process that loads it ({ended}): {last}."
    )


@contextmanager
def remembered(folder: Path, deployment: Served) -> Iterator[None]:
    """Remember on disk, during the block, that this process loads a deployment."""
    mark = _mark(folder, deployment)
    with suppress(OSError):  # a server without a disk of its own remembers nothing
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    try:
        yield
    finally:
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def was_interrupted(folder: Path, deployment: Served) -> bool:
    """Whether a process ended while it was loading this deployment."""
    return _mark(folder, deployment).exists()


def _mark(folder: Path, deployment: Served) -> Path:
    return folder / ".loading" / deployment.sha256


def _limit(niceness: int) -> None:
    """What goes wrong here is to harm nobody else."""
    os.nice(niceness)
    with suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text("1000")
    limits = {
        resource.RLIMIT_AS: PROOF_MEMORY_BYTES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: int(PROOF_SECONDS),
        resource.RLIMIT_FSIZE: PROOF_OUTPUT_BYTES,
    }
    for kind, limit in limits.items():
        with suppress(OSError, ValueError):  # macOS knows not all of them
            resource.setrlimit(kind, (limit, limit))


def main() -> None:
    deployment = Served.model_validate_json(sys.stdin.read())
    _limit(int(sys.argv[2]))
    try:
        load(Path(sys.argv[1]), deployment)
    except DataError as error:
        print(error)
        sys.exit(DataError.exit_code)


if __name__ == "__main__":
    main()
