"""Builds a Bento of a registered model version: the model with all that serves it."""

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
"""Tags of the registered version that the Bento carries as labels."""


def build(settings: Settings, store: DeploymentStore, version: ModelVersion, name: str) -> Pointer:
    """Import the model from MLflow, build a Bento of it and add it to the store.

    BentoML's own stores are a folder of work in progress here: what counts is the exported
    Bento, which `bentoml serve <folder>` runs and `bentoml import` takes in.

    Raises:
        DataError: what is registered is no MLflow model with the Python flavour.
        ServiceUnavailable: MLflow does not answer.
    """
    model_name, number = version.name, version.version
    work = settings.work / f"deploy-{model_name}"
    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed; we hold the lock
    (work / "bentoml").mkdir(parents=True)
    os.environ["BENTOML_HOME"] = str(work / "bentoml")  # read when BentoML is imported
    mlflow_client.configure(settings)
    import bentoml
    from bentoml.exceptions import BentoMLException

    labels = {
        "model_name": model_name,
        "model_version": number,
        **{key: version.tags.get(key, "") for key in LINEAGE},
    }
    tag = f"{model_name.lower()}:{name}"
    try:
        with mlflow_client.errors(settings):
            model = bentoml.mlflow.import_model(
                tag, f"models:/{model_name}/{number}", labels=labels
            )
        # The package as it is installed here, from a wheel or from a checkout.
        source = work / "source"
        shutil.copytree(
            Path(breezeway.__file__).parent,
            source / "breezeway",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        bento = bentoml.bentos.build(
            "breezeway.serving.service:ModelServer",
            name=model.tag.name,
            version=name,
            labels=labels,
            models=[str(model.tag)],
            build_ctx=str(source),
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
