"""What the model server and its Bentos use of BentoML that BentoML does not promise.

This is the one module that leans on these parts; pyproject.toml bounds the version, and
tests/servers/serving/test_bentoml_parts.py fails when an upgrade changes them.

- `service_class` of `bentoml.service`, and `Service.to_asgi`: our application stands before
  BentoML's. What its public `mount_asgi_app` and `add_asgi_middleware` take stands behind BentoML's
  own middleware, which costs several times what a prediction does.
- `bento_service` of an instance, `Service.bento` and `Bento.info`: which Bento a service was
  started from, and with which labels and models. There is no public way to ask.
- The folder `models/<name>/<version>/mlflow_model` of an exported Bento: the deployment store
  records where the model lies, so that a server reads it without BentoML.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml
from bentoml.models import BentoModel

if TYPE_CHECKING:
    from breezeway.serving.http import ASGIApp

MODEL_FOLDER = "mlflow_model"


def service_behind(front: "Callable[[ASGIApp], ASGIApp]") -> type[bentoml.Service[Any]]:
    """A class of services whose requests reach an application of ours first.

    Args:
        front: makes it, of BentoML's application.
    """

    class ServiceBehind(bentoml.Service[Any]):
        def to_asgi(self, is_main: bool = True) -> "ASGIApp":
            return front(super().to_asgi(is_main))

    return ServiceBehind


def bento_of(instance: Any) -> bentoml.Bento | None:
    """The Bento that an instance of a service was started from; None where it was none."""
    bento: bentoml.Bento | None = instance.bento_service.bento
    return bento


def labels_of(bento: bentoml.Bento) -> dict[str, str]:
    """What `bentoml.bentos.build` was given as labels."""
    return dict(bento.info.labels)


def models_in(bento: bentoml.Bento) -> list[Path]:
    """The folders of the MLflow models in a Bento that is served."""
    return [
        Path(BentoModel(model.tag).resolve().path) / MODEL_FOLDER for model in bento.info.all_models
    ]


def exported_model(tag: bentoml.Tag) -> str:
    """Where an MLflow model lies in a Bento that was exported as a folder."""
    return f"models/{tag.path()}/{MODEL_FOLDER}"
