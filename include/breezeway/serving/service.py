"""The BentoML service: `bentoml serve breezeway.serving.service:ModelServer`.

Started from this package it follows the deployment store. Started from a Bento (`bentoml
serve <folder of a deployment>`, or a container made of it) it serves the model inside.
"""

import gc
import logging
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import version

import bentoml
from bentoml.images import Image

from breezeway.core.settings import Settings
from breezeway.deployment.store import DeploymentStore, Pointer
from breezeway.serving import active
from breezeway.serving.app import App, ASGIApp
from breezeway.serving.bentoml_parts import bento_of, labels_of, models_in, service_behind
from breezeway.serving.metrics import exposition

PACKAGES = (
    "google-re2",
    "httptools",
    "numpy",
    "orjson",
    "prometheus-client",
    "pydantic",
    "pydantic-settings",
    "uvloop",
    "xgboost-cpu",
)
"""What a container of a Bento installs beside BentoML, in this environment's versions."""

SUPERVISOR = os.getppid()
LEAVE_SECONDS = 10
"""How long requests in flight may still take once the supervisor has ended."""

log = logging.getLogger("breezeway.serving")

models = active.ActiveModels()


def leave_with_supervisor() -> None:
    """End this worker soon after `bentoml serve`, however that ended.

    BentoML puts its worker into a session of its own. If the supervisor were killed, the worker
    would stay, hold the port, and go on answering unwatched.
    """
    while os.getppid() == SUPERVISOR:
        time.sleep(active.POLL_SECONDS)
    log.error("the supervisor (process %d) is gone: leaving", SUPERVISOR)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(LEAVE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def settle() -> None:
    """Keep the interpreter's own pauses away from requests.

    A full garbage collection visits every object that BentoML, pydantic and XGBoost made when
    they were imported, which takes tens of milliseconds. These objects live until the process
    ends, so they are frozen. And a thread that loads a model yields to the event loop every
    0.5 ms instead of the interpreter's 5 ms.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.0005)
    # Uvicorn writes a line of access log for each request as far as a logger lets it.
    logging.getLogger("uvicorn.access").propagate = False


def stand_before(bentoml_app: ASGIApp) -> App:
    settings = Settings.from_environment()
    token = settings.serving_token.get_secret_value() if settings.serving_token else None
    return App(models, bentoml_app, token=token, open_paths=settings.serving_open_paths)


@bentoml.service(  # type: ignore[operator]  # a module has the same name
    name="breezeway",
    service_class=service_behind(stand_before),
    workers=1,
    # A container has a network of its own, in which loopback would be out of reach.
    http={"host": "0.0.0.0" if "BENTOML_CONTAINERIZED" in os.environ else "127.0.0.1"},
    logging={"access": {"enabled": False}},
    image=Image(
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        lock_python_packages=False,
    ).python_packages(*(f"{package}=={version(package)}" for package in PACKAGES)),
)
class ModelServer:
    """Predictions for sensor readings: `POST /v1/models/<model>/predict`."""

    @bentoml.on_startup
    def start(self) -> None:
        threading.Thread(target=leave_with_supervisor, daemon=True).start()
        bento = bento_of(self)
        if bento is None:
            settings = Settings.from_environment()
            store, copy = settings.deployments, settings.deployment_copy
            models.follow(DeploymentStore(store), DeploymentStore(copy))
        else:
            for folder in models_in(bento):
                began = time.monotonic()
                models.hold(active.load(folder, _pointer_of(bento)), "Bento", began)
        settle()

    @bentoml.on_shutdown
    def stop(self) -> None:
        models.stop()

    async def __is_ready__(self) -> bool:
        return models.ready

    async def __metrics__(self, text: str) -> str:
        return text + exposition(active.families(models))


def _pointer_of(bento: bentoml.Bento) -> Pointer:
    """The pointer that a Bento's labels describe."""
    labels = labels_of(bento)
    return Pointer(
        model_name=labels["model_name"],
        model_version=labels["model_version"],
        deployment=bento.tag.version or "",
        bento=str(bento.tag),
        data_tag=labels["data_tag"],
        sha256="",
        deployed_at=datetime.now(UTC),
    )
