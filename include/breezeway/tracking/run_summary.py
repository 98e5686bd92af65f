"""What a run of the DAG `training` came to, in words: for its log and for `make demo`."""

from collections.abc import Callable, Mapping
from typing import Any

from breezeway.contract.contract import Contract

DAY_SECONDS = 86_400
TITLE = "On readings that training did not see"
REJECTED = {"promoted": False, "reason": "A person rejected it."}

Results = Mapping[str, dict[str, Any] | None]
"""Task → its result; None if it was skipped."""


def text_of(results: Results, contract: Contract) -> str:
    """All of it, as lines of text."""
    lines = _aligned([[name, fact] for name, fact in facts_of(results).items()])
    train, test = results.get("train"), results.get("test")
    if train and "not_judged" not in train:
        lines += ["", TITLE, *_aligned([["", *COLUMNS], *scores_of(train)])]
    if sentences := sentences_of(train, test, contract):
        lines += ["", *sentences]
    return "\n".join(lines)


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def facts_of(results: Results) -> dict[str, str]:
    """A line for each task that ran, by its title."""
    facts = {}
    if data := results.get("preprocess"):
        reasons = ", ".join(f"{count} {reason}" for reason, count in data["reasons"].items())
        facts["dataset"] = (
            f"{data['tag']}: {data['rows_in']} readings in, {data['rows']} out, "
            f"{data['copies']} copies, {data['quarantined']} quarantined"
            + (f" ({reasons})" if reasons else "")
        )
        facts["warnings"] = "; ".join(data["warnings"]) or "none"
    if tuned := results.get("tune"):
        params = (
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in tuned["params"].items()
        )
        facts["best parameters"] = ", ".join(params) or "the defaults"
    if chosen := (tuned or {}).get("features"):
        kept = ", ".join(f"{each['name']} ({each['gain']:+.3f})" for each in chosen["kept"])
        facts["features"] = (
            f"{chosen['kept_count']} of {chosen['tried']} groups kept, of {chosen['variants']} "
            f"variants: {kept or chosen['why_none'] or 'none gains enough'}"
        )
    if train := results.get("train"):
        facts["model"] = (
            f"{train['model_name']} version {train['model_version']}, alarm from score "
            f"{train['threshold']:.4f}"
        )
    if "promote" in results:
        promotion = results["promote"] or REJECTED
        facts["promotion"] = (
            f"{'promoted' if promotion['promoted'] else 'refused'}: {promotion['reason']}"
        )
    if "deploy" in results:
        deployment = results["deploy"]
        facts["deployment"] = deployment["bento"] if deployment else "none; the champion serves on"
    return facts


def scores_of(train: Mapping[str, Any]) -> list[list[str]]:
    """The cells below `COLUMNS`: of the model, and of detectors that look at no sensor."""
    cards = {train["model_name"]: train["metrics"], **train["baselines"]}
    return [
        [name.replace("_", " "), *(column(card) for column in COLUMNS.values())]
        for name, card in cards.items()
    ]


def sentences_of(
    train: dict[str, Any] | None, test: dict[str, Any] | None, contract: Contract
) -> list[str]:
    """How good the alarms are, and what has drifted."""
    said: list[str] = []
    if train and "not_judged" in train:
        said += [_promise_in_a_line(train["metrics"]), train["not_judged"]]
    elif train:
        said += [_in_a_line(train["metrics"], contract), train["beside_clock"]]
    if test:
        drifted = ", ".join(test["drifted"]) or "none"
        said.append(f"Drift among {test['judged']} recent readings: {drifted}.")
    return [sentence for sentence in said if sentence]


def duration(seconds: float | None) -> str:
    """In the largest unit of which there are at least two."""
    if seconds is None:
        return "-"
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "events hit": lambda card: f"{card['events_hit']} of {card['events']}",
    "half of them within": lambda card: duration(card["median_delay_seconds"]),
    "90 % within": lambda card: duration(card["p90_delay_seconds"]),
    "false alarms an hour": lambda card: _figure(card["false_episodes_per_normal_hour"]),
    "time in false alarm": lambda card: _figure(card["false_alarm_rate"]),
    "F1": lambda card: _figure(card["f1"]),
    "average precision": lambda card: _figure(card["average_precision"]),
}


def _promise_in_a_line(figures: dict[str, Any]) -> str:
    """What is promised, and what was measured; nothing was if no row was held out."""
    promised = f"promised are {figures['promised_episodes_per_day']:.2g}"
    if "alarm_episodes" not in figures:
        return f"Alarms a day of a device: {promised}."
    episodes = figures["alarm_episodes"]
    return (
        f"{episodes} {'alarm' if episodes == 1 else 'alarms'} in {figures['device_days']:.3g} days "
        f"of a device that training did not see, {figures['alarm_episodes_per_day']:.2g} a day; "
        f"{promised}."
    )


def _in_a_line(card: dict[str, Any], contract: Contract) -> str:
    """What was found, how soon and at which price, beside the price that the contract allows."""
    found = f"{card['events_hit']} of {card['events']} faults found"
    if card["events_hit"]:
        found += f", half of them within {duration(card['median_delay_seconds'])} of their start"
    days = card["rows"] * contract.interval_seconds / DAY_SECONDS
    alarm = contract.alarm
    if alarm.false_episodes_per_day is not None:
        allowed = f"the budget is {alarm.false_episodes_per_day:g}"
    elif alarm.missed_event_cost is not None:
        allowed = (
            f"a missed fault counts {alarm.missed_event_cost:g}, a false alarm "
            f"{alarm.false_episode_cost:g}"
        )
    else:
        allowed = f"at most {alarm.max_alarm_share:.0%} of normal time may be in alarm"
    per_day = card["false_episodes"] / days
    return f"{found}, at {per_day:.2g} false alarms a day of a device; {allowed}."
