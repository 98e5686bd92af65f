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

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from breezeway.core.errors import DataError, UsageError
from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings
from breezeway.tracking.gate import Decision, Gate, decide
from breezeway.tracking.rest import (
    aliases,
    find_model,
    find_version,
    model_exists,
    post,
    resolve_version,
    tags,
)

CHAMPION = "champion"
KEPT_CHAMPIONS = 100
"""How many steps the way back has at most; a tag's value is bounded."""


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
        evidence: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise DataError(f"breezeway.evidence of {model_name!r} {version}: {error}.") from None
    return evidence


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
    kept: list[str] = json.loads(tags(model).get("breezeway.champions", "[]"))
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
