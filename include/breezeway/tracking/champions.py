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
import urllib.parse
from datetime import UTC, datetime

from breezeway.core.errors import DataError, UsageError
from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings
from breezeway.tracking.gate import Decision, Evidence, Gate, decide
from breezeway.tracking.registry import (
    RegisteredModel,
    find_model,
    find_version,
    model_exists,
    resolve_version,
    set_alias,
    tag_model,
    tag_version,
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
    if evidence.champion == version == champion(settings, model_name):
        return Decision(True, f"Version {version} is the champion already.")
    decision = decide(gate, evidence)
    if decision.promote:
        return promote(settings, model_name, version, evidence.champion, decision.reason)
    refuse(settings, model_name, version, decision.reason)
    return decision


def read_evidence(settings: Settings, model_name: str, version: str) -> Evidence:
    """What the step `test` found out about a version.

    Raises:
        UsageError: there is no such version, or it has not been tested.
        DataError: it is not whole, or not JSON.
        ServiceUnavailable: MLflow does not answer.
    """
    text = find_version(settings, model_name, version).tags.get("evidence")
    if text is None:
        raise UsageError(f"Version {version} of {model_name!r} has not been tested: run `test`.")
    try:
        return Evidence.from_json(text)
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
        about = find_version(settings, model_name, version).tags
        model = find_model(settings, model_name)
        now = model.aliases.get(CHAMPION)
        before = about.get("champion_before")
        again = now == version and expected_champion in (before, version)
        if now != expected_champion and not again:
            return _refuse(settings, model_name, version, _lost(version, expected_champion, now))
        if not again:
            _settle_champions(settings, model_name, model)
            tag_version(settings, model_name, version, champion_before=now or "")
            set_alias(settings, model_name, CHAMPION, version)
            model = find_model(settings, model_name)
            now = model.aliases.get(CHAMPION)
        if now != version:
            return _refuse(settings, model_name, version, _lost(version, expected_champion, now))
        _settle_champions(settings, model_name, model)
        tag_version(
            settings, model_name, version, decision="promoted", reason=reason, decided_at=_now()
        )
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
    tag_version(settings, model_name, version, **values)


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
        now = model.aliases.get(CHAMPION)
        if now is None:
            raise UsageError(f"{model_name!r} has no champion to go back from.")
        if to_version == now:
            return now
        if from_version not in (None, now):
            left = find_version(settings, model_name, from_version).tags
            if left.get("rolled_back_to") == now:
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
        tag_version(settings, model_name, now, rolled_back_to=target, **decision)
        while earlier[-1] != target:
            earlier.pop()
        # First the way back: killed in between, the alias is a champion that it misses, and the
        # next reader appends it. The other way round, that would be the one rolled back to.
        _keep_champions(settings, model_name, earlier)
        set_alias(settings, model_name, CHAMPION, target)
        return target


def champion(settings: Settings, model_name: str) -> str | None:
    """The champion's version, None where the model has none or is not registered at all.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    if not model_exists(settings, model_name):
        return None
    return find_model(settings, model_name).aliases.get(CHAMPION)


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
    tag_version(settings, model_name, version, decision="refused", reason=reason, decided_at=_now())
    return Decision(False, reason)


def _settle_champions(settings: Settings, model_name: str, model: RegisteredModel) -> list[str]:
    """Champions, oldest first; the present one is added if it was set by hand or by the killed."""
    kept: list[str] = json.loads(model.tags.get("champions", "[]"))
    now = model.aliases.get(CHAMPION)
    if now is None or kept[-1:] == [now]:
        return kept
    _keep_champions(settings, model_name, [*kept, now])
    return [*kept, now]


def _keep_champions(settings: Settings, model_name: str, champions: list[str]) -> None:
    tag_model(settings, model_name, "champions", json.dumps(champions[-KEPT_CHAMPIONS:]))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
