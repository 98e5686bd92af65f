"""The champion of each registered model: who it is, who became it, why, and the way back.

The alias `champion` in MLflow's registry is the truth. Tags of a version keep what was decided
about it (`breezeway.decision`, `.reason`, `.decided_at`, `.champion_before`) and what its trial
beside the champion said (`breezeway.canary_decision`, `.canary_reason`, …); the tag
`breezeway.champions` of the model keeps the champions in their order, for the way back.

MLflow's REST API is called directly: importing its client costs three seconds of a core.

MLflow sets an alias without looking at what it was. So whoever moves it here holds a lock, looks
before and after. That excludes processes of this host; on several hosts that share no `home`, let
one Airflow pool of one slot hold all promotions.
"""

import base64
import http.client
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from breezeway.core.errors import DataError, ServiceUnavailable, UsageError
from breezeway.core.settings import Settings
from breezeway.datasets.workspace import exclusive, redacted

CHAMPION = "champion"
ANSWER_SECONDS = 8
ARTIFACT_SECONDS = 60
"""Its server may first have to fetch a file from an object store."""
KEPT_CHAMPIONS = 100
"""How many steps the way back has at most; a tag's value is bounded."""


class NotFound(UsageError):
    """MLflow knows no such model, version or run."""


@dataclass(frozen=True)
class Decision:
    """Whether a version is champion by this decision, and why (one sentence for a person)."""

    promote: bool
    reason: str


class Gate(Protocol):
    """The section `[gate]` of a sensor contract.

    max_loss: average precision that a challenger may lose against the champion.
    """

    max_loss: float


def decide(gate: Gate, evidence: Mapping[str, Any]) -> Decision:
    """Whether what a test found is enough to promote the tested version.

    Without a champion, the version must beat detectors that look at no sensor. Against one, the
    interval of the difference must rule out a loss larger than the gate allows. Without labels
    nothing is known, so nothing is promoted.

    Args:
        evidence: as the step `test` writes it: `labelled`, `champion`, `average_precision`,
            `baseline` (name → average precision, or figures that hold it),
            `champion_average_precision`, `difference` (`estimate`, `low`, `high`).

    Raises:
        DataError: the evidence misses a key.

    Example:
        >>> from types import SimpleNamespace
        >>> decide(SimpleNamespace(max_loss=0.02), {"labelled": False}).promote
        False
    """
    if not evidence.get("labelled"):
        return Decision(False, "The tested rows have no labels, so nothing shows how good it is.")
    score = evidence.get("average_precision")
    if score is None:
        return Decision(False, "The tested rows hold no event, so nothing shows how good it is.")
    try:
        if evidence["champion"] is None:
            return _decide_alone(score, evidence["baseline"])
        return _decide_against(gate, score, evidence)
    except (KeyError, TypeError) as error:
        raise DataError(f"The evidence of the test is not whole: {error}.") from None


def _decide_alone(score: float, baseline: Mapping[str, Any]) -> Decision:
    chance = max(
        figures["average_precision"] if isinstance(figures, Mapping) else figures
        for name, figures in baseline.items()
        if name in ("always_on", "random")
    )
    beats = score > chance
    return Decision(
        beats,
        f"There is no champion, and its average precision of {score:.3f} is "
        f"{'above' if beats else 'not above'} the {chance:.3f} of chance.",
    )


def _decide_against(gate: Gate, score: float, evidence: Mapping[str, Any]) -> Decision:
    difference = evidence["difference"]
    if difference is None:
        return Decision(False, "The champion could not be scored on the same rows.")
    enough = difference["low"] >= -gate.max_loss
    return Decision(
        enough,
        f"Average precision {score:.3f} against {evidence['champion_average_precision']:.3f} of "
        f"champion {evidence['champion']}: difference {difference['estimate']:+.3f}, 95 % interval "
        f"{difference['low']:+.3f} to {difference['high']:+.3f}; a loss of more than "
        f"{gate.max_loss:g} is {'ruled out' if enough else 'not ruled out'}.",
    )


def pass_gate(settings: Settings, model_name: str, version: str, gate: Gate) -> Decision:
    """Decide about a version by the evidence kept with it, and promote or refuse it.

    Raises:
        UsageError: there is no such version, or it has not been tested.
        DataError: its evidence can't be read.
        TryAgain, ServiceUnavailable: as for `promote`.
    """
    version = resolve_version(settings, model_name, version)
    evidence = read_evidence(settings, model_name, version)
    if evidence.get("champion") == version == champion(settings, model_name):
        return Decision(True, f"Version {version} is the champion already.")
    decision = decide(gate, evidence)
    if decision.promote:
        return promote(settings, model_name, version, evidence["champion"], decision.reason)
    refuse(settings, model_name, version, decision.reason)
    return decision


def read_evidence(settings: Settings, model_name: str, version: str) -> dict[str, Any]:
    """What the step `test` found out about a version.

    Raises:
        UsageError: there is no such version, or it has not been tested.
        DataError: it is not JSON.
        ServiceUnavailable: MLflow does not answer.
    """
    text = tags(find_version(settings, model_name, version)).get("breezeway.evidence")
    if text is None:
        raise UsageError(f"Version {version} of {model_name!r} has not been tested: run `test`.")
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"breezeway.evidence of {model_name!r} {version}: {error}.") from None


def promote(
    settings: Settings, model_name: str, version: str, expected_champion: str | None, reason: str
) -> Decision:
    """Make a version the champion if the champion is still the one that it was tested against.

    Safe to run twice and to kill at any point: the alias moves last but for what is written
    about it, and a second run completes that.

    Args:
        expected_champion: its version, None where there was none.

    Returns:
        Whether the version is champion now. It is not where the champion has changed since the
        test: that is kept with the version as a refusal, and another test is needed.

    Raises:
        UsageError: there is no such version.
        TryAgain: another was promoting for longer than `lock_wait_seconds`.
        ServiceUnavailable: MLflow does not answer.
    """
    with exclusive(settings, _lock(model_name)):
        about = tags(find_version(settings, model_name, version))
        model = find_model(settings, model_name)
        now = aliases(model).get(CHAMPION)
        before = about.get("breezeway.champion_before") or None
        again = now == version and expected_champion in (before, version)
        if now != expected_champion and not again:
            return _refuse(settings, model_name, version, _lost(version, expected_champion, now))
        if not again:
            _settle_champions(settings, model_name, model)
            _tag(settings, model_name, version, champion_before=now or "")
            _set_champion(settings, model_name, version)
            model = find_model(settings, model_name)
            now = aliases(model).get(CHAMPION)
        if now != version:
            return _refuse(settings, model_name, version, _lost(version, expected_champion, now))
        _settle_champions(settings, model_name, model)
        _tag(settings, model_name, version, decision="promoted", reason=reason, decided_at=_now())
        return Decision(True, reason)


def refuse(settings: Settings, model_name: str, version: str, reason: str) -> Decision:
    """Keep with a version that it was not promoted, and why.

    Raises:
        UsageError: there is no such version.
        ServiceUnavailable: MLflow does not answer.
    """
    find_version(settings, model_name, version)
    return _refuse(settings, model_name, version, reason)


def keep(settings: Settings, model_name: str, version: str, **values: str) -> None:
    """Keep tags with a version: `canary_reason` as `breezeway.canary_reason`, in this order.

    Raises:
        UsageError: there is no such version.
        ServiceUnavailable: MLflow does not answer.
    """
    find_version(settings, model_name, version)
    _tag(settings, model_name, version, **values)


def rollback(
    settings: Settings,
    model_name: str,
    to_version: str | None = None,
    *,
    reason: str,
    from_version: str | None = None,
) -> str:
    """Make an earlier champion the champion again: the one before, or the one that is named.

    Each rollback goes one step further back; what was promoted since is forgotten as a way
    back, not as a decision.

    Args:
        from_version: the champion to step back from. With it, or with `to_version`, a second
            run does nothing; without both, it is another step.

    Returns:
        The version that is champion now.

    Raises:
        UsageError: no earlier champion, `to_version` was none, or `from_version` isn't one now.
        TryAgain: another was promoting for longer than `lock_wait_seconds`.
        ServiceUnavailable: MLflow does not answer.
    """
    with exclusive(settings, _lock(model_name)):
        model = find_model(settings, model_name)
        now = aliases(model).get(CHAMPION)
        if now is None:
            raise UsageError(f"{model_name!r} has no champion to go back from.")
        if to_version == now:
            return now
        if from_version not in (None, now):
            left = tags(find_version(settings, model_name, from_version))
            if left.get("breezeway.rolled_back_to") == now:
                return now
            raise UsageError(f"The champion of {model_name!r} is {now}, not {from_version}.")
        earlier = _settle_champions(settings, model_name, model)[:-1]
        target = to_version or (earlier[-1] if earlier else None)
        if target is None:
            raise UsageError(f"{model_name!r} {now} is the first champion: none to go back to.")
        if target not in earlier:
            raise UsageError(f"Version {target} of {model_name!r} was no champion before {now}.")
        find_version(settings, model_name, target)
        decision = {"decision": "rolled back", "reason": reason, "decided_at": _now()}
        _tag(settings, model_name, now, rolled_back_to=target, **decision)
        while earlier[-1] != target:
            earlier.pop()
        # First the way back: killed in between, the alias is a champion that it misses, and the
        # next reader appends it. The other way round, that would be the one rolled back to.
        _keep_champions(settings, model_name, earlier)
        _set_champion(settings, model_name, target)
        return target


def champion(settings: Settings, model_name: str) -> str | None:
    """The champion's version, None where the model has none or is not registered at all.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    if not model_exists(settings, model_name):
        return None
    return aliases(find_model(settings, model_name)).get(CHAMPION)


def resolve_version(settings: Settings, model_name: str, version_or_alias: str) -> str:
    """The number of a version that is given as such or as an alias.

    Raises:
        UsageError: there is no such model, version or alias.
        ServiceUnavailable: MLflow does not answer.
    """
    if re.fullmatch(r"[0-9]+", version_or_alias):
        return find_version(settings, model_name, version_or_alias)["version"]
    known = aliases(find_model(settings, model_name))
    if version_or_alias not in known:
        there = ", ".join(sorted(known)) or "none"
        raise UsageError(
            f"{model_name!r} has no version or alias {version_or_alias!r}; its aliases: {there}."
        )
    return known[version_or_alias]


def model_exists(settings: Settings, model_name: str) -> bool:
    """Whether a model of this name is registered.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    try:
        find_model(settings, model_name)
    except NotFound:
        return False
    return True


def find_model(settings: Settings, model_name: str) -> dict[str, Any]:
    """A registered model as MLflow's REST API gives it.

    Raises:
        UsageError: there is none of this name.
        ServiceUnavailable: MLflow does not answer.
    """
    return get(settings, "registered-models/get", name=model_name)["registered_model"]


def find_version(settings: Settings, model_name: str, version: str) -> dict[str, Any]:
    """A model version as MLflow's REST API gives it.

    Raises:
        UsageError: there is no such model or version.
        ServiceUnavailable: MLflow does not answer.
    """
    answer = get(settings, "model-versions/get", name=model_name, version=version)
    return answer["model_version"]


def tags(thing: Mapping[str, Any]) -> dict[str, str]:
    """Tags of a model, version or run as MLflow's REST API gives it."""
    return {tag["key"]: tag.get("value", "") for tag in thing.get("tags", [])}


def aliases(model: Mapping[str, Any]) -> dict[str, str]:
    return {alias["alias"]: alias["version"] for alias in model.get("aliases", [])}


def get(settings: Settings, path: str, **fields: Any) -> dict[str, Any]:
    """Ask MLflow's REST API.

    Credentials are those of MLflow's own client: MLFLOW_TRACKING_TOKEN, or
    MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.

    Args:
        path: below `/api/2.0/mlflow/`.

    Raises:
        NotFound: MLflow knows no such thing.
        UsageError: it refuses a value or the credentials.
        ServiceUnavailable: no answer in `ANSWER_SECONDS`, or one of a server in trouble.
    """
    return _ask(settings, "GET", f"{path}?{urllib.parse.urlencode(fields)}", None)


def post(settings: Settings, path: str, **fields: Any) -> dict[str, Any]:
    """Tell MLflow's REST API; as `get` does."""
    return _ask(settings, "POST", path, json.dumps(fields).encode())


def open_artifact(settings: Settings, run_id: str, path: str) -> http.client.HTTPResponse:
    """Open a file of a run for reading, wherever MLflow's server keeps it; close it after use.

    Args:
        path: within the run's artifacts.

    Raises:
        as `get` does.
    """
    query = urllib.parse.urlencode({"run_id": run_id, "path": path})
    return _open(settings, "GET", f"get-artifact?{query}", None, ARTIFACT_SECONDS)


def _ask(settings: Settings, method: str, path: str, body: bytes | None) -> dict[str, Any]:
    try:
        with _open(settings, method, f"api/2.0/mlflow/{path}", body, ANSWER_SECONDS) as response:
            return json.loads(response.read())
    except (OSError, http.client.HTTPException) as error:
        raise ServiceUnavailable(f"{_away(settings)} ({error}).") from None
    except ValueError:
        raise ServiceUnavailable(f"{_away(settings)}: what answers there is no MLflow.") from None


def _open(
    settings: Settings, method: str, path: str, body: bytes | None, seconds: float
) -> http.client.HTTPResponse:
    url = f"{settings.mlflow_url.rstrip('/')}/{path}"
    headers = {"Content-Type": "application/json", **_credentials()}
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        return urllib.request.urlopen(request, timeout=seconds)
    except urllib.error.HTTPError as error:
        if error.code >= 500 or error.code == 429:
            raise ServiceUnavailable(f"{_away(settings)}: {error}.") from None
        kind = NotFound if error.code == 404 else UsageError
        raise kind(f"MLflow: {_message(error)}") from None
    except (OSError, http.client.HTTPException) as error:
        raise ServiceUnavailable(
            f"{_away(settings)} ({getattr(error, 'reason', error)})."
        ) from None


def _away(settings: Settings) -> str:
    return f"MLflow does not answer at {redacted(settings.mlflow_url)}"


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return json.loads(error.read())["message"]
    except (ValueError, KeyError, TypeError, OSError):
        return str(error)


def _credentials() -> dict[str, str]:
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        pair = f"{user}:{os.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}


def _lock(model_name: str) -> str:
    return f"champion-{urllib.parse.quote(model_name, safe='')}"


def _lost(version: str, expected: str | None, now: str | None) -> str:
    return (
        f"When version {version} was tested, {_named(expected)} was the champion; "
        f"now {_named(now)} is. Test it again."
    )


def _named(version: str | None) -> str:
    return f"version {version}" if version else "none"


def _refuse(settings: Settings, model_name: str, version: str, reason: str) -> Decision:
    _tag(settings, model_name, version, decision="refused", reason=reason, decided_at=_now())
    return Decision(False, reason)


def _settle_champions(settings: Settings, model_name: str, model: Mapping[str, Any]) -> list[str]:
    """Champions, oldest first; the present one is added if it was set by hand or by the killed."""
    kept = json.loads(tags(model).get("breezeway.champions", "[]"))
    now = aliases(model).get(CHAMPION)
    if now is None or kept[-1:] == [now]:
        return kept
    _keep_champions(settings, model_name, [*kept, now])
    return [*kept, now]


def _keep_champions(settings: Settings, model_name: str, champions: list[str]) -> None:
    post(
        settings,
        "registered-models/set-tag",
        name=model_name,
        key="breezeway.champions",
        value=json.dumps(champions[-KEPT_CHAMPIONS:]),
    )


def _set_champion(settings: Settings, model_name: str, version: str) -> None:
    path = "registered-models/alias"
    post(settings, path, name=model_name, alias=CHAMPION, version=version)


def _tag(settings: Settings, model_name: str, version: str, **values: str) -> None:
    for key, value in values.items():
        post(
            settings,
            "model-versions/set-tag",
            name=model_name,
            version=version,
            key=f"breezeway.{key}",
            value=value,
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
