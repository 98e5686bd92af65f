"""Loads a registered model version from MLflow."""

import tempfile
from pathlib import Path

from breezeway.core.settings import Settings
from breezeway.detector.scoring import ScoringModel, load_folder
from breezeway.tracking import mlflow_client, registry


def load(settings: Settings, name: str, version: str, *, judged: bool = False) -> ScoringModel:
    """Load a registered model version from MLflow.

    Args:
        version: its number, or an alias such as `champion`.
        judged: the fit that was evaluated, if another one serves.

    Raises:
        UsageError: there is no such model, version or alias.
        DataError: its files do not load.
        ServiceUnavailable: MLflow does not answer.
    """
    number = registry.resolve_version(settings, name, version)
    mlflow_client.configure(settings)
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        with mlflow_client.errors(settings):
            path = mlflow.artifacts.download_artifacts(f"models:/{name}/{number}", dst_path=folder)
        return load_folder(Path(path), number, judged=judged)
