"""The champion of each registered model: who it is, who became it, why, and the way back.

The alias `champion` in MLflow's registry decides which version it is. Tags of a version record
the decision about it (`breezeway.decision`, `.reason`, `.decided_at`, `.champion_before`) and the
result of its trial (`breezeway.canary_decision`, `.canary_reason`, …). The tag
`breezeway.champions` of the model records the champions in their order, for a rollback.

MLflow's REST API is called directly: importing its client costs three seconds of a core.

MLflow sets an alias whatever its value was. So this module holds a lock while it moves the alias,
and reads it before and after. The lock excludes other processes of this host. On several hosts
without a shared `home`, run all promotions in one Airflow pool with one slot.
"""

import json
import urllib.parse
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from breezeway.core.errors import DataError, UsageError
from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings
from breezeway.tracking.gate import Decision, Evidence, Gate, decide
from breezeway.tracking.registry import (
    ModelVersion,
    RegisteredModel,
    find_model,
    find_version,
    resolve_version,
    set_alias,
    tag_model,
    tag_version,
)
from breezeway.tracking.rest import NotFound

CHAMPION = "champion"
_VERSIONS = TypeAdapter(list[Annotated[str, Field(pattern=r"^[0-9]+$")]])
KEPT_CHAMPIONS = 10
"""The most recorded champions, so how far back a rollback reaches; housekeeping keeps them."""


def pass_gate(settings: Settings, model_name: str, version: str, gate: Gate) -> Decision:
    """Decide about a version by its recorded evidence, and promote or refuse it.

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
    """The evidence that the step `test` recorded about a version.

    Raises:
        UsageError: there is no such version, or it has not been tested.
        DataError: the evidence is incomplete, or not JSON.
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
    """Make a version the champion, if the champion is still that of its test.

    It may be repeated, and killed at any point: only the record of the move comes after the alias,
    and a second run completes it.

    Args:
        expected_champion: the champion of the test; None if there was none.

    Returns:
        Whether the version is champion now. If the champion has changed since the test, it is not:
        a refusal is recorded with the version, and it must be tested again.

    Raises:
        UsageError: there is no such version.
        TryAgain: another was promoting for longer than `lock_wait_seconds`.
        ServiceUnavailable: MLflow does not answer.
    """
    with exclusive(settings, lock_name(model_name)):
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
    """Record with a version that it was not promoted, and why.

    Raises:
        UsageError: there is no such version.
        ServiceUnavailable: MLflow does not answer.
    """
    find_version(settings, model_name, version)
    return _refuse(settings, model_name, version, reason)


def keep(settings: Settings, model_name: str, version: str, **values: str) -> None:
    """Set tags of a version, in this order; `canary_reason` is the tag `breezeway.canary_reason`.

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
    """Make an earlier champion the champion again: the previous one, or the named one.

    Each rollback goes one step further back. Champions after the target are no longer targets of a
    rollback, but the decisions about them stay recorded.

    Args:
        from_version: the champion to go back from. With it, or with `to_version`, a second run
            does nothing; without both, a second run goes another step back.

    Returns:
        The version that is the champion now.

    Raises:
        UsageError: there is no earlier champion, `to_version` was never one, or `from_version` is
            not the present one.
        TryAgain: another was promoting for longer than `lock_wait_seconds`.
        ServiceUnavailable: MLflow does not answer.
    """
    with exclusive(settings, lock_name(model_name)):
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
        # First the list of champions. If we are killed after that, the list lacks the champion of
        # the alias, and the next reader appends it. In the other order, the next rollback would
        # lead to the champion that this one goes back from.
        _keep_champions(settings, model_name, earlier)
        set_alias(settings, model_name, CHAMPION, target)
        return target


def within_reach(settings: Settings, model_name: str) -> set[str]:
    """The champion, and the earlier ones that a rollback may lead to.

    Raises:
        UsageError: there is no such model.
        DataError: the tag that records them was overwritten with something else.
        ServiceUnavailable: MLflow does not answer.
    """
    model = find_model(settings, model_name)
    return {*recorded(model), *model.aliases.values()}


def recorded(model: RegisteredModel) -> list[str]:
    """The champions that are recorded with a model, oldest first.

    Raises:
        DataError: the tag that records them was overwritten with something else.
    """
    text = model.tags.get("champions", "[]")
    try:
        return _VERSIONS.validate_json(text, strict=True)
    except ValidationError:
        raise DataError(
            f"The tag breezeway.champions of the model {model.name!r} is {text[:100]!r}: expected "
            'a JSON list of version numbers, such as ["1", "2"]. Correct or delete it in MLflow.'
        ) from None


def champion(settings: Settings, model_name: str) -> str | None:
    """The champion's version; None if the model has none or is not registered.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    try:
        return find_model(settings, model_name).aliases.get(CHAMPION)
    except NotFound:
        return None


def objection(settings: Settings, version: ModelVersion) -> str | None:
    """Why a version should not go into service: the gate refused it, or it was rolled back.

    Returns:
        A sentence; None for the champion, and for a version about which nothing was decided.

    Raises:
        ServiceUnavailable: MLflow does not answer.
    """
    decision = version.tags.get("decision")
    if decision not in ("refused", "rolled back"):
        return None
    if champion(settings, version.name) == version.version:
        return None
    said = "The gate refused" if decision == "refused" else "Somebody rolled back from"
    reason = version.tags.get("reason", "no reason is recorded.")
    return f"{said} version {version.version} of {version.name!r}: {reason}"


def lock_name(model_name: str) -> str:
    """The name of the lock for moving a model's alias."""
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
    """Champions, oldest first; with the present one, even if it is not recorded yet.

    Raises:
        DataError: the tag that records them was overwritten with something else.
    """
    kept = recorded(model)
    now = model.aliases.get(CHAMPION)
    if now is None or kept[-1:] == [now]:
        return kept
    _keep_champions(settings, model_name, [*kept, now])
    return [*kept, now]


def _keep_champions(settings: Settings, model_name: str, champions: list[str]) -> None:
    tag_model(settings, model_name, "champions", json.dumps(champions[-KEPT_CHAMPIONS:]))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
