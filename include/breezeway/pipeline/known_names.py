"""The names that exist, for the fields of a form: of dataset tags, models, versions and runs.

The stores are asked at the same time, and only for names. What one says is bounded, and is not
escaped: whoever shows it has to do that.
"""

from itertools import islice

from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.pipeline.patience import ask
from breezeway.tracking import past_runs, registry

MOST = 50
"""Names of each kind. A person who looks for an older one knows it, or looks on the start page."""


def look(settings: Settings, model_name: str, seconds: float) -> dict[str, list[str]]:
    """Ask all stores at the same time; it takes no longer than `seconds`, whatever they do.

    Args:
        model_name: the model whose versions are looked up.

    Returns:
        `tag` (of datasets, without those of single days, the last by name first), `model_name`,
        `model_version` (aliases, then numbers, the newest first) and `run_name` (of trainings, the
        newest first). A kind is empty if its store gave no answer in time.
    """
    mlflow = settings.mlflow_url
    answers = ask(
        {
            ("names of datasets", settings.repository_address): lambda: _tags(settings),
            ("names of models", mlflow): lambda: registry.search_models(settings, MOST),
            (f"versions of {model_name}", mlflow): lambda: registry.newest_versions(
                settings, model_name, MOST
            ),
            ("names of runs", mlflow): lambda: _runs(settings),
        },
        seconds,
    )
    tags, models, numbered, runs = (answer.value or [] for answer in answers.values())
    aliases = {alias for model in models if model.name == model_name for alias in model.aliases}
    return {
        "tag": tags,
        "model_name": [model.name for model in models],
        "model_version": [*sorted(aliases), *(version.version for version in numbered)],
        "run_name": runs,
    }


def _tags(settings: Settings) -> list[str]:
    published = [version.tag for version in versions.list_versions(settings)]
    return [tag for tag in reversed(published) if not versions.DAY_TAG.fullmatch(tag)][:MOST]


def _runs(settings: Settings) -> list[str]:
    """MLflow gives the newest first."""
    found = islice(past_runs.search(settings, "tags.`breezeway.step` = 'train'"), MOST)
    return list(dict.fromkeys(run["info"].get("run_name", "") for run in found))
