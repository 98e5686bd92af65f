"""Put a registered model version to work: build a Bento of it and swap it into the live server.

The Bento goes into the deployment store, the store's pointer moves to it, and the running
server loads it beside the old model, checks it against the examples recorded at training and
swaps. Then one of these examples is sent through the live endpoint. If any of it fails, the
pointer goes back, the old model goes on serving, and this step fails with the reason.

Deploying what is deployed already is success.
"""

import argparse
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from filelock import FileLock, Timeout

from breezeway import registry, tracking
from breezeway.deployments import (
    NAME_PATTERN,
    SCORE_TOLERANCE,
    Deployment,
    DeploymentStore,
    Pointer,
)
from breezeway.errors import DataError, ServiceUnavailable, TryAgain, UsageError
from breezeway.settings import Settings
from breezeway.steps.frame import run_step

log = logging.getLogger("breezeway.deploy")

TAKE_UP_SECONDS = 30.0
"""How long the server may take from the pointer's move to the new model's first answer."""
ANSWER_SECONDS = 5.0

LINEAGE = ("data_tag", "data_hash", "data_commit", "params_tag", "run_id", "airflow_run", "code")
"""Tags of the registered version that the Bento carries as labels."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model-name", required=True, help="the registered model")
    parser.add_argument(
        "--model-version", required=True, help="its version: a number, or an alias like champion"
    )


class Server:
    """The running model server, seen from outside.

    Args:
        url: its address.
        model_name: the model that is asked about.
    """

    def __init__(self, url: str, model_name: str):
        self._http = httpx.Client(base_url=url, timeout=ANSWER_SECONDS, trust_env=False)
        self._url = url
        self._model = f"/v1/models/{model_name}"

    def status(self) -> dict[str, Any]:
        """What the server says of the model; empty if it never heard of it.

        Raises:
            ServiceUnavailable: it does not answer, or with an error.
        """
        response = self._request("GET", self._model)
        if response.status_code == 404:
            return {}
        return self._content(response)

    def predict(self, example: dict[str, Any]) -> dict[str, Any]:
        body = {"device": example["device"], "readings": example["readings"]}
        return self._content(self._request("POST", f"{self._model}/predict", json=body))

    def _request(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **content)
        except httpx.HTTPError as error:
            raise ServiceUnavailable(
                f"The model server does not answer at {self._url} ({error}); "
                "BREEZEWAY_SERVING_URL names it."
            ) from None

    def _content(self, response: httpx.Response) -> dict[str, Any]:
        if response.is_server_error:
            raise ServiceUnavailable(
                f"The model server at {self._url} fails with {response.status_code}: "
                f"{response.text[:300]}"
            )
        if response.is_error:
            raise DataError(f"The model server refuses: {response.text[:300]}")
        return response.json()


def run(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
    version = find_version(settings, arguments.model_name, arguments.model_version)
    model_name = version["name"]
    server = Server(settings.serving_url, model_name)
    store = DeploymentStore(settings.deployments)
    with only_writer(settings, model_name):
        before = store.pointer(model_name)
        status = server.status()  # before anything moves: is there anyone to take it up?
        name = deployment_name(version)
        if _is_deployed(before, name, status):
            log.info("%s version %s is deployed already", model_name, version["version"])
            return result_of(before)
        pointer = store.find(model_name, name) or build(settings, store, version, name)
        pointer = pointer.model_copy(update={"previous": way_back(before, name)})
        go_live(store, server, pointer)
        store.prune(model_name)
        return result_of(pointer)


def _is_deployed(pointer: Pointer | None, name: str, status: dict[str, Any]) -> bool:
    return (
        pointer is not None
        and pointer.verified_at is not None
        and pointer.deployment == name == status.get("deployment")
    )


def way_back(before: Pointer | None, name: str) -> Pointer | None:
    """The latest other deployment that was seen to work."""
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
    }


def find_version(settings: Settings, model_name: str, version: str) -> dict[str, Any]:
    """The registered version behind a number or an alias, as MLflow's REST API gives it.

    Raises:
        UsageError: there is no such model, version or alias, or the name cannot be served.
        ServiceUnavailable: MLflow does not answer.
    """
    if not re.fullmatch(NAME_PATTERN, model_name):
        raise UsageError(
            f"--model-name: {model_name!r} cannot be served: up to 63 letters, digits, '.', '_' "
            "or '-', a letter or a digit at both ends, are expected."
        )
    number = registry.resolve_version(settings, model_name, version)
    return registry.find_version(settings, model_name, number)


def deployment_name(version: dict[str, Any]) -> str:
    """One name for one registered version, so that a rerun finds what it made before.

    A registry that was set up anew gives the same numbers to other models; their source and
    time of registration tell them apart.
    """
    identity = f"{version['name']}\n{version['source']}\n{version['creation_timestamp']}"
    return f"{version['version']}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


@contextmanager
def only_writer(settings: Settings, model_name: str) -> Iterator[None]:
    """Wait until no other deployment of this model is under way.

    Raises:
        TryAgain: another one took longer than `lock_wait_seconds`.
    """
    settings.locks.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.locks / f"deploy-{model_name}.lock").acquire(
            timeout=settings.lock_wait_seconds
        ):
            yield
    except Timeout:
        raise TryAgain(
            f"Another deployment of {model_name} is still under way after "
            f"{settings.lock_wait_seconds:.0f} s."
        ) from None


def build(
    settings: Settings, store: DeploymentStore, version: dict[str, Any], name: str
) -> Pointer:
    """Import the model from MLflow, build a Bento of it and add it to the store.

    BentoML's own stores are a folder of work in progress here: what counts is the exported
    Bento, which `bentoml serve <folder>` runs and `bentoml import` takes in.

    Raises:
        DataError: what is registered is no MLflow model with the Python flavour.
        ServiceUnavailable: MLflow does not answer.
    """
    model_name, number = version["name"], str(version["version"])
    work = settings.work / f"deploy-{model_name}"
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed; we hold the lock
    (work / "bentoml").mkdir(parents=True)
    os.environ["BENTOML_HOME"] = str(work / "bentoml")  # read when BentoML is imported
    tracking.configure(settings)
    import bentoml
    from bentoml.exceptions import BentoMLException

    tags = registry.tags(version)
    labels = {
        "model_name": model_name,
        "model_version": number,
        **{key: tags.get(f"breezeway.{key}", "") for key in LINEAGE},
    }
    tag = f"{model_name.lower()}:{name}"
    try:
        with tracking.errors(settings):
            model = bentoml.mlflow.import_model(
                tag, f"models:/{model_name}/{number}", labels=labels
            )
        bento = bentoml.bentos.build(
            "breezeway.serving.service:ModelServer",
            name=model.tag.name,
            version=name,
            labels=labels,
            models=[str(model.tag)],
            include=["breezeway/**/*.py"],
            build_ctx=str(Path(__file__).parents[2]),
        )
    except BentoMLException as error:
        raise DataError(f"BentoML cannot build a Bento of {tag}: {error}") from None
    except shutil.Error as error:  # copytree's: it hides the one error of a full disk in many
        raise ServiceUnavailable(f"A Bento of {tag} cannot be written: {error}") from None
    bento.export(str(work / "export"), output_format="folder")
    pointer = store.add(
        work / "export",
        Deployment(
            model_name=model_name,
            model_version=number,
            deployment=name,
            bento=str(bento.tag),
            data_tag=labels["data_tag"],
            model_folder=f"models/{model.tag.path()}/mlflow_model",
        ),
    )
    shutil.rmtree(work)
    return pointer


def go_live(store: DeploymentStore, server: Server, pointer: Pointer) -> None:
    """Move the pointer and see the deployment answer; if it does not, go to the previous one.

    Raises:
        DataError: the server rejects the model, or the model answers otherwise than recorded.
        ServiceUnavailable: the server went away, or does not take the deployment up.
    """
    back = pointer.previous
    try:
        store.point(pointer)
        wait_until_live(server, pointer)
        check_answer(server, store.open(pointer), pointer)
    except BaseException:  # a SIGTERM too: what was not seen to work does not stay
        store.point_back(pointer.model_name, back)
        log.warning("the pointer is back at %s", back.bento if back else "nothing")
        raise
    store.point(pointer.verified())
    log.info("%s serves %s", pointer.model_name, pointer.bento)


def wait_until_live(server: Server, pointer: Pointer) -> None:
    deadline = time.monotonic() + TAKE_UP_SECONDS
    while True:
        status = server.status()
        if status.get("deployment") == pointer.deployment:
            return
        failure = status.get("failure")
        if failure and failure["deployed_at"] == pointer.deployed_at.isoformat():
            raise DataError(f"The model server rejects {pointer.bento}: {failure['reason']}")
        if time.monotonic() > deadline:
            raise ServiceUnavailable(
                f"The model server did not take up {pointer.bento} within "
                f"{TAKE_UP_SECONDS:.0f} s; does it watch the same deployment store?"
            )
        time.sleep(0.1)


def check_answer(server: Server, model_folder: Path, pointer: Pointer) -> None:
    """Send an example that was recorded at training through the live endpoint."""
    # Read as it is: importing XGBoost to load the model would take longer than all the rest.
    examples = next(model_folder.rglob("examples.json"))
    example = json.loads(examples.read_text("utf-8"))[0]
    answer = server.predict(example)
    same = abs(answer["score"] - example["score"]) <= SCORE_TOLERANCE
    if not same or answer["model_version"] != pointer.model_version:
        raise DataError(
            f"{pointer.bento} answers version {answer['model_version']} and score "
            f"{answer['score']!r}; expected {pointer.model_version} and {example['score']!r}."
        )


if __name__ == "__main__":
    run_step("deploy", __doc__, add_arguments, run)
