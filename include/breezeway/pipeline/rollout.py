"""Puts a registered model version into service, or on trial, and checks that it works.

`breezeway.steps.deploy` is the command.
"""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from breezeway.core.errors import DataError, ServiceUnavailable, UsageError
from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings
from breezeway.deployment.replicas import Replica, Replicas
from breezeway.deployment.status import Failure, ServerStatus
from breezeway.deployment.store import (
    SCORE_TOLERANCE,
    Challenger,
    DeploymentStore,
    Pointer,
    Served,
    lock_name,
)
from breezeway.pipeline.bento import build
from breezeway.pipeline.in_service import deployment_name
from breezeway.serving.loading import SOFTWARE, prove
from breezeway.tracking import champions
from breezeway.tracking.registry import ModelVersion, find_version, resolve_version

log = logging.getLogger("breezeway.deploy")

TAKE_UP_SECONDS = 30.0
"""How long the servers may take to load a new model after the pointer has moved."""
RESTART_SECONDS = 360.0
"""The same if none answers: Kubernetes starts a container that crashes again after up to five
minutes."""


def deploy(
    settings: Settings,
    model_name: str,
    model_version: str,
    mode: str | None = None,
    share: float = 0.0,
    force: str | None = None,
) -> dict[str, Any]:
    """Put a version into service or, with a mode, on trial.

    Args:
        model_version: a number, or an alias.
        mode: of the trial; None to put the version into service.
        share: the share of the devices, 0 to 1, that a challenger answers for.
        force: the reason to let a version answer requests, in service or on trial, against which
            there is an objection; it is kept with the version (`breezeway.forced_reason`).

    Returns:
        The result of the step.

    Raises:
        UsageError: there is no such version, or it cannot be put on trial now, or there is an
            objection and no reason.
        DataError: it does not work, and has been withdrawn.
        ServiceUnavailable: MLflow or a server does not answer.
        TryAgain: another deployment of this model is under way.
    """
    number = resolve_version(settings, model_name, model_version)
    version = find_version(settings, model_name, number)
    # A shadow answers nobody.
    if mode != "shadow" and (objection := champions.objection(settings, version)):
        if not force:
            raise UsageError(f"{objection} To let it answer nevertheless, give a reason (--force).")
        log.warning("%s It answers nevertheless: %s", objection, force)
        champions.keep(settings, version.name, number, forced_reason=force)
    store = DeploymentStore(settings.deployments)
    with exclusive(settings, lock_name(version.name)):
        replicas = Replicas(settings, version.name)
        statuses = _statuses(replicas, store.pointer(version.name))
        if mode:
            return put_on_trial(settings, store, replicas, version, mode, share)
        return make_champion(settings, store, replicas, version, statuses)


def _statuses(replicas: Replicas, pointer: Pointer | None) -> list[tuple[Replica, ServerStatus]]:
    """The status of each replica; none if they do not answer though they have a model to serve.

    Such servers may crash with that model, and another one is what ends it.

    Raises:
        ServiceUnavailable: nothing was ever deployed, so there may be no server at all.
    """
    try:
        return replicas.statuses()
    except ServiceUnavailable as error:
        if pointer is None:
            raise
        log.warning(
            "%s The pointer moves nevertheless, and the servers have %.0f s to come up.",
            error,
            RESTART_SECONDS,
        )
        return []


def end_trial(settings: Settings, model_name: str, model_version: str) -> dict[str, Any]:
    """End the trial of a version.

    Raises:
        UsageError: there is no such version, or another is on trial.
        ServiceUnavailable: MLflow does not answer.
        TryAgain: another deployment of this model is under way.
    """
    number = resolve_version(settings, model_name, model_version)
    version = find_version(settings, model_name, number)
    with exclusive(settings, lock_name(version.name)):
        withdraw(DeploymentStore(settings.deployments), version.name, deployment_name(version))
    return {**_names(version), "role": "withdrawn"}


def make_champion(
    settings: Settings,
    store: DeploymentStore,
    replicas: Replicas,
    version: ModelVersion,
    statuses: list[tuple[Replica, ServerStatus]],
) -> dict[str, Any]:
    """Put a version into service, instead of the present one; this ends a trial."""
    name = deployment_name(version)
    before = store.pointer(version.name)
    if before and _is_deployed(before, name, statuses):
        log.info("%s version %s is deployed already", version.name, version.version)
        return result_of(before)
    pointer = store.find(version.name, name) or build(settings, store, version, name)
    pointer = pointer.model_copy(update={"previous": way_back(before, name)})
    go_live(store, replicas, pointer, TAKE_UP_SECONDS if statuses else RESTART_SECONDS)
    store.prune(version.name)
    return result_of(pointer)


def _is_deployed(pointer: Pointer, name: str, statuses: list[tuple[Replica, ServerStatus]]) -> bool:
    if pointer.verified_at is None or not statuses:
        return False
    return {pointer.deployment, *(status.deployment for _, status in statuses)} == {name}


def way_back(before: Pointer | None, name: str) -> Pointer | None:
    """The latest other deployment that is known to work."""
    if before is None:
        return None
    good = before.last_good()
    return before.previous if good and good.deployment == name else good


def result_of(pointer: Pointer) -> dict[str, Any]:
    return {
        "model_name": pointer.model_name,
        "model_version": pointer.model_version,
        "bento": pointer.bento,
        "deployment": pointer.deployment,
        "previous": pointer.previous and pointer.previous.deployment,
        "role": "champion",
    }


def put_on_trial(
    settings: Settings,
    store: DeploymentStore,
    replicas: Replicas,
    version: ModelVersion,
    mode: str,
    share: float,
) -> dict[str, Any]:
    """Put a version on trial; if it is on trial in this mode already, the trial continues.

    If it does not work on the new terms, the trial that ran goes on as it was.

    Raises:
        UsageError: there is no champion in service, or it is the champion, or another version
            is on trial.
        DataError, ServiceUnavailable: it does not work, and has been withdrawn.
    """
    model_name, name = version.name, deployment_name(version)
    before = store.pointer(model_name)
    if before is None or before.verified_at is None:
        raise UsageError(
            f"{model_name} has no champion in service that a challenger could be tried beside."
        )
    if before.deployment == name:
        raise UsageError(f"Version {version.version} of {model_name} is in service already.")
    running = before.challenger
    if running and running.deployment != name:
        raise UsageError(
            f"Version {running.model_version} of {model_name} is on trial; deploy it with "
            "--withdraw first."
        )
    if running and running.mode == mode:
        challenger = running.model_copy(update={"share": share})
    else:
        found = store.find(model_name, name) or build(settings, store, version, name)
        challenger = Challenger.of(proved(store, found), mode, share)
    try:
        store.point(before.model_copy(update={"challenger": challenger}))
        up = wait_for_challenger(replicas, challenger)
        check_answers(up, store.open(challenger), challenger)
    except BaseException:  # a SIGTERM too
        store.point(before)
        log.warning("%s: %s is not on trial in the mode %s", model_name, challenger.bento, mode)
        raise
    store.prune(model_name)
    log.info("%s: %s is on trial (%s)", model_name, challenger.bento, mode)
    return {
        **_names(version),
        "bento": challenger.bento,
        "deployment": name,
        "role": "challenger",
        "mode": mode,
        "share": share,
    }


def _names(version: ModelVersion) -> dict[str, Any]:
    return {"model_name": version.name, "model_version": version.version}


def withdraw(store: DeploymentStore, model_name: str, name: str) -> None:
    """Remove a challenger from the pointer, so the servers stop using it.

    Args:
        name: its deployment. If no version is on trial there is nothing to do.

    Raises:
        UsageError: another is on trial.
    """
    pointer = store.pointer(model_name)
    if pointer is None or pointer.challenger is None:
        return
    if pointer.challenger.deployment != name:
        raise UsageError(
            f"On trial is version {pointer.challenger.model_version} of {model_name}, "
            f"not {name.partition('-')[0]}."
        )
    store.point(pointer.model_copy(update={"challenger": None}))
    log.info("%s: %s is not on trial any more", model_name, pointer.challenger.bento)


def go_live(
    store: DeploymentStore, replicas: Replicas, pointer: Pointer, seconds: float = TAKE_UP_SECONDS
) -> None:
    """Move the pointer and check the deployment; if it does not work, move the pointer back.

    Args:
        seconds: how long the servers may take.

    Raises:
        DataError: a server rejects the model, or the model gives another answer than recorded.
        ServiceUnavailable: a server stopped answering, or does not load the deployment.
    """
    back = pointer.previous
    pointer = proved(store, pointer)
    try:
        store.point(pointer)
        up = wait_for_champion(replicas, pointer, seconds)
        check_answers(up, store.open(pointer), pointer)
    except BaseException:  # a SIGTERM too: an unverified deployment does not stay
        store.point_back(pointer.model_name, back)
        log.warning("the pointer is back at %s", back.bento if back else "nothing")
        raise
    store.point(pointer.verified())
    log.info("%s serves %s", pointer.model_name, pointer.bento)


def proved(store: DeploymentStore, pointer: Pointer) -> Pointer:
    """The pointer to a deployment that has been loaded once, where it harms nobody.

    Raises:
        DataError: it does not load.
    """
    prove(store.open(pointer), pointer)
    return pointer.model_copy(update={"proved_with": SOFTWARE})


def wait_for_champion(
    replicas: Replicas, pointer: Pointer, seconds: float = TAKE_UP_SECONDS
) -> list[Replica]:
    """Wait until each replica serves the deployment; return the replicas.

    Raises:
        DataError: one of them rejects it.
        ServiceUnavailable: one did not load it in time.
    """
    return _wait(
        replicas, pointer, seconds, lambda status: (status.serves(pointer), status.failure)
    )


def wait_for_challenger(replicas: Replicas, challenger: Challenger) -> list[Replica]:
    """Wait until each replica has the challenger on trial, with its mode and share."""
    return _wait(
        replicas,
        challenger,
        TAKE_UP_SECONDS,
        lambda status: (status.tries(challenger), status.challenger_failure),
    )


def _wait(
    replicas: Replicas,
    served: Served,
    seconds: float,
    role: Callable[[ServerStatus], tuple[bool, Failure | None]],
) -> list[Replica]:
    """Wait until each replica has loaded a deployment.

    Args:
        seconds: how long.
        role: status → whether the server has loaded it, and its last failure to load.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            statuses = replicas.statuses()
        except ServiceUnavailable as error:  # a server may be restarting
            who = str(error)
        else:
            late = [r for r, status in statuses if not _is_up(r, served, *role(status))]
            if not late:
                return [replica for replica, _ in statuses]
            who = f"the model server at {late[0]}; does it watch the same deployment store?"
        if time.monotonic() > deadline:
            raise ServiceUnavailable(
                f"{served.bento} is not up everywhere after {seconds:.0f} s: {who}"
            )
        time.sleep(0.1)


def _is_up(replica: Replica, served: Served, is_up: bool, failure: Failure | None) -> bool:
    if failure and failure.concerns(served):
        raise DataError(f"The model server at {replica} rejects {served.bento}: {failure.reason}")
    return is_up


def check_answers(replicas: list[Replica], model_folder: Path, served: Served) -> None:
    """Send an example from training to each replica."""
    # Read the file directly: to load the model, the import of XGBoost would take too long.
    examples = next(model_folder.rglob("examples.json"))
    example = json.loads(examples.read_text("utf-8"))[0]
    for replica in replicas:
        answer = replica.predict(example, served.model_version)
        if abs(answer["score"] - example["score"]) > SCORE_TOLERANCE:
            raise DataError(
                f"{served.bento} answers score {answer['score']!r} at {replica}; "
                f"expected {example['score']!r}."
            )
