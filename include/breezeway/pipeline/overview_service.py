"""Which versions are in service, as the deployment store and a model server tell it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path

import httpx

from breezeway.core.errors import ServiceUnavailable, UsageError
from breezeway.core.names import MODEL_NAME
from breezeway.core.settings import Settings, redacted
from breezeway.deployment.status import ServerStatus, read_status
from breezeway.deployment.store import Deployment, DeploymentStore, Pointer

ANSWER_SECONDS = 5.0
ANSWER_BYTES = 4 << 20
EXAMPLE_BYTES = 64 << 10
"""Of a request that a person copies; a shell takes twice as much as one argument."""


@dataclass(frozen=True)
class InService:
    """What answers for a model.

    Args:
        since: when it was deployed; of a server alone, when that server loaded it.
        threshold: an alarm from this score on.
        challenger: version and mode of a challenger on trial; empty without one.
        problem: why the server does not serve what was deployed; empty if it does.
        request: JSON of an example that a client may send; empty if none is known.
    """

    version: str
    since: datetime | None
    data_tag: str
    threshold: float | None = None
    challenger: str = ""
    problem: str = ""
    request: str = ""


def plain(text: str, most: int) -> str:
    """A text in one line, without control characters and not longer than `most` characters."""
    shown = "".join(c if c.isprintable() else " " for c in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def deployed(settings: Settings, most: int) -> dict[str, InService]:
    """What the deployment store says of its models.

    Raises:
        DataError: a pointer cannot be read.
    """
    store = DeploymentStore(settings.deployments)
    found = {}
    for name in islice(store.models(), most):
        if pointer := store.pointer(name):
            on_trial = pointer.challenger
            found[name] = InService(
                version=plain(pointer.model_version, 20),
                since=pointer.deployed_at,
                data_tag=plain(pointer.data_tag, 100),
                challenger=(
                    f"version {plain(on_trial.model_version, 20)}, {on_trial.mode}"
                    if on_trial
                    else ""
                ),
                request=_example(store.folder / name / pointer.deployment, pointer),
            )
    return found


def _example(folder: Path, pointer: Pointer) -> str:
    """A request from training, with the score that the server must give."""
    try:
        record = Deployment.model_validate_json((folder / "deployment.json").read_bytes())
        paths = [path for path in record.files if Path(path).name == "examples.json"]
        with (folder / paths[0]).open("rb") as file:
            example = json.loads(file.read(ANSWER_BYTES))[0]
        readings = [{"time": r["time"], "payload": r["payload"]} for r in example["readings"]]
        text = json.dumps({"device": example["device"], "readings": readings})
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""
    return text if len(text) <= EXAMPLE_BYTES else ""


def served(settings: Settings, url: str, most: int) -> dict[str, ServerStatus]:
    """The models of a model server.

    Raises:
        ServiceUnavailable: it does not answer, or is not a model server.
        UsageError: it expects another token.
    """
    with httpx.Client(timeout=ANSWER_SECONDS, trust_env=False) as http:
        try:
            with http.stream("GET", f"{url}/v1/models", headers=settings.serving_headers) as answer:
                content = b""
                for chunk in answer.iter_bytes():
                    content += chunk
                    if len(content) > ANSWER_BYTES:
                        break
        except httpx.HTTPError as error:
            raise ServiceUnavailable(
                f"The model server does not answer at {redacted(url)} "
                f"({error or type(error).__name__}); BREEZEWAY_SERVING_URL names it."
            ) from None
    if answer.status_code == 401:
        raise UsageError("It wants another token; BREEZEWAY_SERVING_TOKEN holds it.")
    if answer.is_error:
        raise ServiceUnavailable(f"It answers with {answer.status_code}.")
    try:
        listed = json.loads(content)["models"][:most]
        statuses = [read_status(json.dumps(each).encode()) for each in listed]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ServiceUnavailable(
            f"What answers at {redacted(url)} is no model server of this version."
        ) from None
    return {s.model: s for s in statuses if MODEL_NAME.allows(s.model)}


def merge(
    store: Mapping[str, InService] | None, server: Mapping[str, ServerStatus] | None
) -> dict[str, InService]:
    """What both say together: the server knows the threshold, the store since when."""
    found = dict(store or {})
    for name, status in (server or {}).items():
        known = found.get(name)
        version = plain(status.model_version or "", 20)
        problem = plain(status.failure.reason, 300) if status.failure else ""
        if known is None:
            if version or problem:
                since = _moment(status.loaded_at)
                tag = plain(status.data_tag or "", 100)
                found[name] = InService(version, since, tag, status.threshold, problem=problem)
        elif version == known.version:
            found[name] = replace(known, threshold=status.threshold, problem=problem)
        else:
            problem = problem or f"The server still serves version {version or 'none'}."
            found[name] = replace(known, problem=problem)
    return found


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
