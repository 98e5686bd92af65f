"""Builds a Bento of a registered model version: the model with the code that serves it."""

import os
import shutil
from pathlib import Path

import breezeway
from breezeway.core.errors import DataError, ServiceUnavailable
from breezeway.core.settings import Settings
from breezeway.deployment.store import Deployment, DeploymentStore, Pointer
from breezeway.tracking import mlflow_client
from breezeway.tracking.registry import ModelVersion

LINEAGE = ("data_tag", "data_hash", "data_commit", "params_tag", "run_id", "airflow_run", "code")
"""Tags of the registered version that become labels of the Bento."""


def build(settings: Settings, store: DeploymentStore, version: ModelVersion, name: str) -> Pointer:
    """Import the model from MLflow, build a Bento of it and add it to the store.

    BentoML's own stores are only a temporary folder here. The result is the exported Bento, which
    `bentoml serve <folder>` can run and `bentoml import` can import.

    Args:
        name: of the deployment.

    Returns:
        An unverified pointer to it, which is not set yet.

    Raises:
        DataError: the registered model is not an MLflow model with the Python flavour.
        ServiceUnavailable: MLflow does not answer, or the disk is full.
    """
    work = settings.work / f"deploy-{version.name}"
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed; we hold the lock
    (work / "bentoml").mkdir(parents=True)
    os.environ["BENTOML_HOME"] = str(work / "bentoml")  # BentoML reads it when it is imported
    mlflow_client.configure(settings)
    from bentoml.exceptions import BentoMLException

    labels = {
        "model_name": version.name,
        "model_version": version.version,
        **{key: version.tags.get(key, "") for key in LINEAGE},
    }
    try:
        bento, model_folder = _build(settings, version, name, labels, work)
    except BentoMLException as error:
        raise DataError(
            f"BentoML cannot build a Bento of version {version.version} of {version.name}: {error}"
        ) from None
    except shutil.Error as error:  # from copytree: a full disk is one of its many errors
        raise ServiceUnavailable(f"A Bento cannot be written to {work}: {error}") from None
    pointer = store.add(
        work / "export",
        Deployment(
            model_name=version.name,
            model_version=version.version,
            deployment=name,
            bento=bento,
            data_tag=labels["data_tag"],
            model_folder=model_folder,
        ),
    )
    shutil.rmtree(work)
    return pointer


def _build(
    settings: Settings, version: ModelVersion, name: str, labels: dict[str, str], work: Path
) -> tuple[str, str]:
    """Export a Bento to `work/export`; return its tag, and the path of the model in it."""
    import bentoml

    from breezeway.serving.bentoml_parts import exported_model

    with mlflow_client.errors(settings):
        model = bentoml.mlflow.import_model(
            f"{version.name.lower()}:{name}",
            f"models:/{version.name}/{version.version}",
            labels=labels,
        )
    # The installed package, from a wheel or from a checkout.
    shutil.copytree(
        Path(breezeway.__file__).parent,
        work / "source" / "breezeway",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    bento = bentoml.bentos.build(
        "breezeway.serving.service:ModelServer",
        name=model.tag.name,
        version=name,
        labels=labels,
        models=[str(model.tag)],
        build_ctx=str(work / "source"),
    )
    bento.export(str(work / "export"), output_format="folder")
    return str(bento.tag), exported_model(model.tag)
