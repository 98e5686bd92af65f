"""Which models are live: follows the deployment store and swaps without taking one down."""

import logging
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from breezeway.deployments import SCORE_TOLERANCE, DeploymentStore, Pointer
from breezeway.errors import DataError
from breezeway.serving.predict import LiveModel, Refusal

log = logging.getLogger("breezeway.serving")

POLL_SECONDS = 0.5
RETRY_SECONDS = 15.0
"""A deployment that failed to load may have been read in a bad moment: it is tried again."""


def load(folder: Path, pointer: Pointer) -> LiveModel:
    """Load a model and let it score the examples that were recorded when it was trained.

    This also warms it: the first request meets nothing that has not run before.

    Raises:
        DataError: the folder holds no whole model, no example, or one that scores otherwise
            than was recorded.
    """
    from breezeway.model import load_folder  # XGBoost: `bentoml serve` itself needs none

    model = load_folder(folder, pointer.model_version)
    live = LiveModel(model, pointer, datetime.now(UTC))
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
    return live


class ActiveModels:
    """The live models by name.

    Requests only read; one thread, the watcher, writes. A request keeps the model that it
    began with, so a swap is one assignment and the old model goes when its last request
    has been answered.
    """

    def __init__(self) -> None:
        self._live: dict[str, LiveModel] = {}
        self._failures: dict[str, dict[str, str]] = {}
        self._swaps: dict[str, int] = {}
        self._failed_loads: dict[str, int] = {}
        self._retry_at: dict[str, float] = {}
        self._stopped = threading.Event()
        self._watcher: threading.Thread | None = None

    def get(self, model_name: str) -> LiveModel | None:
        return self._live.get(model_name)

    @property
    def ready(self) -> bool:
        return bool(self._live)

    def names(self) -> list[str]:
        """Models that are live, or were meant to be."""
        return sorted(self._live.keys() | self._failures.keys())

    def status(self, model_name: str) -> dict[str, Any]:
        """What is live under a name, and what last failed to be."""
        live = self._live.get(model_name)
        return {
            "model": model_name,
            "model_version": live and live.pointer.model_version,
            "deployment": live and live.pointer.deployment,
            "bento": live and live.pointer.bento,
            "data_tag": live and live.pointer.data_tag,
            "threshold": live and live.model.threshold,
            "loaded_at": live and live.loaded_at.isoformat(),
            "swaps": self._swaps.get(model_name, 0),
            "failed_loads": self._failed_loads.get(model_name, 0),
            "failure": self._failures.get(model_name),
        }

    def hold(self, live: LiveModel) -> None:
        """Serve this model from now on."""
        name = live.pointer.model_name
        if name in self._live:
            self._swaps[name] = self._swaps.get(name, 0) + 1
        self._live[name] = live
        log.info("%s: serving %s", name, live.pointer.bento)

    def follow(self, store: DeploymentStore) -> None:
        """Take up what the store points at, now and, in a thread, whenever that changes."""
        import breezeway.model  # noqa: F401 - the first deployment shall not wait for XGBoost

        self.refresh(store)
        self._watcher = threading.Thread(
            target=self._watch, args=(store,), name="deployment-watcher", daemon=True
        )
        self._watcher.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._watcher:
            self._watcher.join()

    def _watch(self, store: DeploymentStore) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            try:
                self.refresh(store)
            except Exception:
                log.exception("the deployment store %s cannot be read", store.folder)

    def refresh(self, store: DeploymentStore) -> None:
        """Compare with the store once. Whatever is wrong there leaves the live models alone."""
        for model_name in store.models():
            pointer = None
            try:
                pointer = store.pointer(model_name)
                if pointer is not None and self._is_due(pointer):
                    self.hold(load(store.open(pointer), pointer))
            except Exception as error:
                # Not only our own errors: a damaged model may fail anywhere in the library
                # that reads it, and this thread has the other models to look after.
                self._failed(model_name, pointer, error)
                self._fall_back(store, pointer)

    def _is_due(self, pointer: Pointer) -> bool:
        live = self._live.get(pointer.model_name)
        if live and live.pointer.sha256 == pointer.sha256:
            return False
        failure = self._failures.get(pointer.model_name)
        if failure and failure["deployed_at"] == pointer.deployed_at.isoformat():
            return time.monotonic() >= self._retry_at[pointer.model_name]
        return True

    def _failed(self, model_name: str, pointer: Pointer | None, error: Exception) -> None:
        reason = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
        failure = {
            "deployment": pointer.deployment if pointer else "",
            "deployed_at": pointer.deployed_at.isoformat() if pointer else "",
            "reason": reason,
        }
        self._failed_loads[model_name] = self._failed_loads.get(model_name, 0) + 1
        known = self._failures.get(model_name)
        self._failures[model_name] = failure | {"at": datetime.now(UTC).isoformat()}
        self._retry_at[model_name] = time.monotonic() + RETRY_SECONDS
        if known is None or failure.items() - known.items():
            log.error(
                "%s: %s is not served: %s",
                model_name,
                failure["deployment"] or "the pointer",
                reason,
                exc_info=None if isinstance(error, DataError) else error,
            )

    def _fall_back(self, store: DeploymentStore, pointer: Pointer | None) -> None:
        """After a start on a deployment that is broken, serve the one before it."""
        if pointer is None or pointer.previous is None or pointer.model_name in self._live:
            return
        try:
            self.hold(load(store.open(pointer.previous), pointer.previous))
        except Exception:
            log.exception("%s: the one before cannot be served either", pointer.model_name)
