"""Which models are live: follows the deployment store and swaps without taking one down."""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from breezeway.core.errors import DataError
from breezeway.deployment.status import Failure, ServerStatus
from breezeway.deployment.store import Challenger, DeploymentStore, Pointer, Served
from breezeway.serving.loading import SOFTWARE, load, prove, remembered, was_interrupted
from breezeway.serving.metrics import Metrics, counts
from breezeway.serving.predict import LiveModel
from breezeway.serving.trial import Contender, Serving

log = logging.getLogger("breezeway.serving")

POLL_SECONDS = 0.5
PROOF_NICENESS = 10
"""Of the process that proves a deployment: requests are answered beside it."""
RETRY_SECONDS = 15.0
"""A deployment may fail to load for a passing reason: it is tried again after this time."""
STORE_SECONDS = 20.0
"""How long a start waits for the deployment store before it takes the local copy: a file system
that hangs never answers."""


@dataclass
class Failures:
    """The failed loads of one model in one role, and when the next attempt is due."""

    count: int = 0
    last: Failure | None = None
    retry_at: float = 0.0

    def note(
        self,
        deployment: Served | None,
        error: Exception,
        name: str,
        instead: Mapping[str, Exception] | None = None,
    ) -> None:
        """Count a failed load, and log it if it is another than the last.

        Args:
            deployment: None if the pointer cannot be read.
            instead: what was tried instead of it, and why that failed too.
        """
        others = (instead or {}).items()
        reasons = [_reason(error), *(f"{what}: {_reason(failed)}" for what, failed in others)]
        errors = [error, *(failed for _, failed in others)]
        unexpected = next((e for e in errors if not isinstance(e, DataError)), None)
        reason = "; ".join(reasons)
        known = self.last
        self.last = Failure(
            deployment=deployment.deployment if deployment else "",
            deployed_at=deployment.deployed_at.isoformat() if deployment else "",
            reason=reason,
            at=datetime.now(UTC).isoformat(),
        )
        self.count += 1
        self.retry_at = time.monotonic() + RETRY_SECONDS
        if known is None or replace(known, at=self.last.at) != self.last:
            log.error(
                "%s: %s is not served: %s",
                name,
                self.last.deployment or "the pointer",
                reason,
                exc_info=unexpected,
            )

    def is_due(self, deployment: Served) -> bool:
        if self.last and self.last.concerns(deployment):
            return time.monotonic() >= self.retry_at
        return True


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"


@dataclass
class State:
    """The state of one model name."""

    serving: Serving | None = None
    source: str | None = None
    swaps: int = 0
    swap_seconds: float = 0.0
    failures: Failures = field(default_factory=Failures)
    challenger_failures: Failures = field(default_factory=Failures)
    kept: str = ""
    """SHA-256 of the deployment that the local copy holds."""
    keep_at: float = 0.0
    keep_error: str = ""


class ActiveModels:
    """The live models by name.

    Requests only read; one thread, the watcher, writes. A request keeps the models that it
    began with, so a swap is one assignment, and the old model is freed after its last request.
    """

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.store_up: bool | None = None
        """Whether the deployment store answered the last time; None if none is followed."""
        self._states: dict[str, State] = {}
        self._refused: dict[str, str] = {}
        """SHA-256 of a deployment whose proof failed → the reason."""
        self._refreshed = threading.Event()
        self._stopped = threading.Event()
        self._watcher: threading.Thread | None = None

    def get(self, model_name: str) -> Serving | None:
        state = self._states.get(model_name)
        return state.serving if state else None

    @property
    def ready(self) -> bool:
        return any(state.serving for state in list(self._states.values()))

    def states(self) -> dict[str, State]:
        """The models that are live, or that should be live."""
        return dict(sorted(self._states.items()))

    def status(self, model_name: str) -> ServerStatus:
        """What is live under a name, and the last failure to load."""
        state = self._states[model_name]
        trial = state.serving.trial if state.serving else None
        champion = state.serving.champion.live if state.serving else None
        deployment = champion.deployment if champion else None
        return ServerStatus(
            model=model_name,
            model_version=deployment.model_version if deployment else None,
            deployment=deployment.deployment if deployment else None,
            bento=deployment.bento if deployment else None,
            data_tag=deployment.data_tag if deployment else None,
            threshold=champion.model.threshold if champion else None,
            loaded_at=champion.loaded_at.isoformat() if champion else None,
            server=f"{socket.gethostname()}-{os.getpid()}",
            source=state.source,
            swaps=state.swaps,
            failed_loads=state.failures.count,
            failure=state.failures.last,
            challenger=trial.challenger_status() if trial else None,
            challenger_failure=state.challenger_failures.last,
            trial=trial.status() if trial else None,
        )

    def hold(self, live: LiveModel, source: str, began: float) -> None:
        """Serve this model from now on, alone.

        Args:
            source: where it came from: "store", "local copy" or "Bento".
            began: `time.monotonic()` when it was found.
        """
        name = live.deployment.model_name
        state = self._states.setdefault(name, State())
        tally = self.metrics.tally(
            name, live.deployment.model_version, "champion", live.model.feature_names
        )
        swapped = state.serving is not None
        state.serving = Serving(Contender(live, (tally,), self.metrics))
        state.source = source
        state.failures.last = None
        self.metrics.forget_versions(name, {live.deployment.model_version})
        if swapped:
            state.swaps += 1
            state.swap_seconds += time.monotonic() - began
        log.info("%s: serving %s from the %s", name, live.deployment.bento, source)

    def follow(self, store: DeploymentStore, copy: DeploymentStore) -> None:
        """Load what the store points at, now and, in a thread, at each change.

        Args:
            store: where deployments come from. If it is empty or does not answer, the start
                takes those of the copy.
            copy: a store on this machine's own disk with the last good deployment of each model.
        """
        import breezeway.serving.row_scorer  # noqa: F401 - the first deployment does not wait for it

        self._watcher = threading.Thread(
            target=self._watch, args=(store, copy), name="deployment-watcher", daemon=True
        )
        self._watcher.start()
        if self._refreshed.wait(STORE_SECONDS) and self.store_up:
            return
        for model_name in copy.models():
            away = DataError(f"The deployment store {store.folder} is away")
            log.error("%s: %s", model_name, away)
            if failed := self._take_copy(copy, model_name):
                state = self._states.setdefault(model_name, State())
                state.failures.note(None, away, model_name, {"its local copy": failed})

    def stop(self) -> None:
        self._stopped.set()
        if self._watcher:
            self._watcher.join(STORE_SECONDS)

    def _watch(self, store: DeploymentStore, copy: DeploymentStore) -> None:
        told = ""
        while True:
            try:
                self.refresh(store, copy)
            except Exception as error:
                # Whatever it is, no new deployment is seen: the same alert. It is told once.
                self.store_up = False
                if _reason(error) != told:
                    told = _reason(error)
                    log.exception("the deployment store %s is not followed", store.folder)
            else:
                told = ""
            self._refreshed.set()
            if self._stopped.wait(POLL_SECONDS):
                return

    def refresh(self, store: DeploymentStore, copy: DeploymentStore) -> None:
        """Compare with the store once. An error there never touches the live models."""
        names = store.models()
        # A file system that is not mounted looks like an empty folder.
        self.store_up = bool(names)
        for model_name in names:
            state = self._states.setdefault(model_name, State())
            pointer = None
            try:
                pointer = store.pointer(model_name)
                if pointer is None:
                    continue
                self._follow_champion(state, store, pointer, copy)
            except Exception as error:
                # Not only our own errors: a damaged model may fail anywhere in the library
                # that reads it, and this thread has the other models to look after.
                failed = self._fall_back(state, store, pointer, copy, model_name)
                state.failures.note(pointer, error, model_name, failed)
            if pointer and state.serving:
                self._follow_challenger(state, state.serving, store, copy, pointer.challenger)

    def _load(self, store: DeploymentStore, deployment: Served, copy: DeploymentStore) -> LiveModel:
        """Load a deployment that harms nobody.

        Raises:
            DataError: its files are not whole, or do not load.
        """
        folder = store.open(deployment)
        if reason := self._refused.get(deployment.sha256):
            raise DataError(reason)
        if deployment.proved_with != SOFTWARE or was_interrupted(copy.folder, deployment):
            try:
                prove(folder, deployment, niceness=PROOF_NICENESS)
            except DataError as error:
                self._refused[deployment.sha256] = str(error)
                raise
        with remembered(copy.folder, deployment):
            return load(folder, deployment)

    def _follow_champion(
        self, state: State, store: DeploymentStore, pointer: Pointer, copy: DeploymentStore
    ) -> None:
        live = state.serving.champion.live if state.serving else None
        failure = state.failures.last
        served = live is not None and live.deployment.sha256 == pointer.sha256
        if failure and failure.concerns(pointer):
            if not state.failures.is_due(pointer):
                return
            if served:
                store.open(pointer)  # served from the local copy: is the store's whole again?
                state.failures.last = None
        if served:
            state.source = "store"
            if failure and not failure.deployment:
                state.failures.last = None  # the pointer can be read again
        else:
            began = time.monotonic()
            self.hold(self._load(store, pointer, copy), "store", began)
            state.keep_at = began
        if state.kept != pointer.sha256 and time.monotonic() >= state.keep_at:
            _keep(state, copy, store, pointer)

    def _follow_challenger(
        self,
        state: State,
        serving: Serving,
        store: DeploymentStore,
        copy: DeploymentStore,
        terms: Challenger | None,
    ) -> None:
        trial = serving.trial
        if terms is None:
            state.challenger_failures.last = None
            if trial:
                state.serving = serving.without_challenger()
                log.info("%s: the trial of %s has ended", trial.terms.model_name, trial.terms.bento)
            return
        if trial and _same_trial(trial.terms, terms):
            if trial.terms.share != terms.share:
                state.serving = serving.on_terms(terms)
            return
        if trial and trial.terms.sha256 == terms.sha256:
            # The same model: neither its file is read again nor a request left without it.
            running = trial.challenger.live
            live = LiveModel(running.model, terms, running.loaded_at)
            state.challenger_failures.last = None
            state.serving = serving.with_challenger(live, terms, self.metrics)
            log.info("%s: %s goes on (%s)", terms.model_name, terms.bento, terms.mode)
            return
        if trial:
            # Over, whatever becomes of the next: the pointer names its challenger no more.
            state.serving = serving = serving.without_challenger()
        if not state.challenger_failures.is_due(terms):
            return
        try:
            live = self._load(store, terms, copy)
        except Exception as error:  # as above
            state.challenger_failures.note(terms, error, terms.model_name)
            return
        state.challenger_failures.last = None
        state.serving = serving.with_challenger(live, terms, self.metrics)
        log.info("%s: %s is on trial (%s)", terms.model_name, terms.bento, terms.mode)

    def _fall_back(
        self,
        state: State,
        store: DeploymentStore,
        pointer: Pointer | None,
        copy: DeploymentStore,
        model_name: str,
    ) -> dict[str, Exception]:
        """If a server starts on a broken deployment, serve the previous one, or the local copy.

        Returns:
            What was tried in vain, with the error of each.
        """
        failed: dict[str, Exception] = {}
        if state.serving:
            return failed
        began = time.monotonic()
        if pointer and pointer.previous:
            try:
                self.hold(self._load(store, pointer.previous, copy), "store", began)
            except Exception as error:
                failed["the one before"] = error
        if not state.serving and (of_copy := self._take_copy(copy, model_name)):
            failed["its local copy"] = of_copy
        return failed

    def _take_copy(self, copy: DeploymentStore, model_name: str) -> Exception | None:
        """Serve the local copy, if there is one. The error is returned if it cannot be served."""
        began = time.monotonic()
        try:
            pointer = copy.pointer(model_name)
            if pointer and not self.get(model_name):
                self.hold(self._load(copy, pointer, copy), "local copy", began)
        except Exception as error:
            return error
        return None


def _same_trial(a: Challenger, b: Challenger) -> bool:
    return a.model_copy(update={"share": b.share}) == b


def _keep(state: State, copy: DeploymentStore, store: DeploymentStore, pointer: Pointer) -> None:
    """Copy what is served to this machine's own disk, for a start while the store is away."""
    try:
        copy.keep(store, pointer)
    except OSError as error:
        state.keep_at = time.monotonic() + RETRY_SECONDS
        if str(error) != state.keep_error:
            state.keep_error = str(error)
            log.warning(
                "%s cannot be kept at %s, for a start without the deployment store: %s",
                pointer.bento,
                copy.folder,
                error,
            )
    else:
        state.kept, state.keep_error = pointer.sha256, ""


def families(models: ActiveModels) -> list[Metric]:
    """The metric families for Prometheus: the counts, and what is live now."""
    info = GaugeMetricFamily(
        "breezeway_model_info",
        "1 for each model that is live",
        labels=["model", "model_version", "deployment", "data_tag", "role"],
    )
    loaded = GaugeMetricFamily(
        "breezeway_model_loaded_timestamp_seconds",
        "When it was loaded",
        labels=["model", "model_version"],
    )
    deployed = GaugeMetricFamily(
        "breezeway_model_deployed_timestamp_seconds",
        "When the deployment store's pointer was moved to it",
        labels=["model", "model_version"],
    )
    share = GaugeMetricFamily(
        "breezeway_challenger_share",
        "Share of the devices that the challenger answers for",
        labels=["model", "model_version"],
    )
    swaps = CounterMetricFamily(
        "breezeway_model_swaps", "Models replaced by another while serving", labels=["model"]
    )
    seconds = SummaryMetricFamily(
        "breezeway_model_swap_duration_seconds",
        "From the pointer seen to the new model serving",
        labels=["model"],
    )
    failed = CounterMetricFamily(
        "breezeway_model_load_failures", "Deployments that could not be loaded", labels=["model"]
    )
    for name, state in models.states().items():
        swaps.add_metric([name], state.swaps)
        seconds.add_metric([name], state.swaps, state.swap_seconds)
        failed.add_metric([name], state.failures.count + state.challenger_failures.count)
        for role, live in _live(state):
            served = live.deployment
            version = [name, served.model_version]
            info.add_metric([*version, served.deployment, served.data_tag, role], 1)
            loaded.add_metric(version, live.loaded_at.timestamp())
            deployed.add_metric(version, served.deployed_at.timestamp())
        if state.serving and state.serving.trial:
            terms = state.serving.trial.terms
            share.add_metric([name, terms.model_version], terms.share)
    of_models = [info, loaded, deployed, share, swaps, seconds, failed]
    if models.store_up is not None:
        up = GaugeMetricFamily(
            "breezeway_deployment_store_up", "1 where the deployment store answers"
        )
        up.add_metric([], models.store_up)
        of_models.append(up)
    return [*counts(models.metrics), *of_models]


def _live(state: State) -> Iterator[tuple[str, LiveModel]]:
    if state.serving:
        yield "champion", state.serving.champion.live
        if state.serving.trial:
            role = "shadow" if state.serving.trial.terms.mode == "shadow" else "challenger"
            yield role, state.serving.trial.challenger.live
