"""The BentoML service, for those who serve with BentoML; the platform runs `serving.server`.

Started from a Bento (`bentoml serve <folder of a deployment>`, or a container made of it) it serves
the model inside. Started from this package (`bentoml serve breezeway.serving.service:ModelServer`)
it follows the deployment store. docs/serving.md says what `bentoml serve` opens.
"""

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
from breezeway.deployment.store import Pointer
from breezeway.serving import active
from breezeway.serving.bentoml_parts import bento_of, labels_of, models_in, service_behind
from breezeway.serving.http import ASGIApp
from breezeway.serving.loading import load
from breezeway.serving.server import application, follow, settle

PACKAGES = (
    "google-re2",
    "httptools",
    "numpy",
    "onnxruntime",
    "orjson",
    "prometheus-client",
    "pydantic",
    "pydantic-settings",
    "tzdata",  # the zone of the contract
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


def stand_before(bentoml_app: ASGIApp) -> ASGIApp:
    return application(Settings.from_environment(), models, bentoml_app)


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
            follow(Settings.from_environment(), models)
        else:
            for folder in models_in(bento):
                began = time.monotonic()
                models.hold(load(folder, _pointer_of(bento)), "Bento", began)
        settle()

    @bentoml.on_shutdown
    def stop(self) -> None:
        models.stop()


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
