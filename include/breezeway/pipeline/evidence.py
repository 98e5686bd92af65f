"""What the gate is told of judged rows: the figures of a version, its champion's, and those of
detectors that look at no sensor."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from breezeway.deployment.store import SCORE_TOLERANCE
from breezeway.detector import scorecard
from breezeway.detector.alarm_rate import alarm_rate, rows_and_alarms
from breezeway.detector.clock import LEARNED_CLOCK, Clock, beside_clock
from breezeway.detector.scorecard import Scorecard
from breezeway.detector.scoring import ScoringModel, score_example
from breezeway.tracking.gate import Difference, Evidence, KeptPromise


def weigh(
    query: str,
    model: ScoringModel,
    champion: ScoringModel | None,
    unseen: pa.Table,
    both: pa.Table | None,
    clock: Clock | None,
) -> tuple[Evidence, dict[str, Scorecard]]:
    """The evidence for the gate, and the metrics of each detector.

    Args:
        query: of the readings.
        unseen: device, time, label and score of the rows that the model was not trained on.
        both: those with a label that the champion was not trained on either, with both scores;
            None if there is no other champion.
        clock: fitted on the rows that the model was trained on; None if they have no labels.
    """
    truth = unseen.filter(unseen["label"].is_valid())
    evidence = _without_figures(query, model, champion, unseen, truth)
    if clock is None or not evidence.labelled:
        return evidence, {}
    interval = model.contract.interval_seconds
    card = scorecard.scorecard(truth, model.threshold, interval)
    baselines = scorecard.baselines(truth, model.threshold, interval)
    cards = {"model": card, **baselines}
    rows = scorecard.rows_of(truth)
    timed = np.empty(len(truth))
    timed[rows.order] = clock.score(rows)
    beside = beside_clock(truth, timed, model.contract)
    by_chance = {name: card.average_precision or 0.0 for name, card in baselines.items()}
    evidence = replace(
        evidence,
        average_precision=card.average_precision,
        baseline=by_chance | ({LEARNED_CLOCK: beside.of_clock} if beside else {}),
        beside_clock=beside.sentence if beside else "",
    )
    if champion is None or both is None or not has_both_classes(both):
        return evidence, cards
    length = scorecard.block_seconds(model.contract)
    blocks = scorecard.time_blocks(both["device"], both["time"], length)
    label = both["label"].to_numpy().astype(bool)
    scores = both["score"].to_numpy(), both["champion_score"].to_numpy()
    frame = both.drop_columns(["score"]).rename_columns({"champion_score": "score"})
    cards["champion"] = scorecard.scorecard(frame, champion.threshold, interval)
    evidence = replace(
        evidence,
        champion_average_precision=cards["champion"].average_precision,
        difference=Difference(*scorecard.compare(label, *scores, blocks)),
    )
    return evidence, cards


def _without_figures(
    query: str,
    model: ScoringModel,
    champion: ScoringModel | None,
    unseen: pa.Table,
    truth: pa.Table,
) -> Evidence:
    has_labels = model.contract.has_labels
    champion_has_labels = champion is None or champion.contract.has_labels
    both_have = has_labels and champion_has_labels
    return Evidence(
        labelled=has_both_classes(truth),
        champion=champion.version if champion else None,
        query=query,
        rows=len(unseen),
        tested_at=datetime.now(UTC).isoformat(timespec="seconds"),
        trained_on=model.trained_on.until_text,
        refit=model.again,
        has_labels=has_labels,
        champion_has_labels=champion_has_labels,
        promise=None if both_have else promise_of(model, unseen),
    )


def promise_of(model: ScoringModel, unseen: pa.Table) -> KeptPromise | None:
    """How a version keeps its promise of false alarms; None if no row is presumed normal.

    Args:
        unseen: device, time, label and score; rows without a label are presumed normal.
    """
    rate = alarm_rate(*rows_and_alarms(unseen, model.threshold), model.contract)
    if rate is None:
        return None
    limits = model.contract.alarm
    return KeptPromise(
        episodes=rate.episodes,
        device_days=rate.device_days,
        low=rate.per_day.low,
        high=rate.per_day.high,
        budget=limits.false_episodes_per_day,
        share=rate.share.value,
        share_low=rate.share.low,
        max_share=limits.max_alarm_share,
        replayed=_replays(model),
    )


def _replays(model: ScoringModel) -> bool:
    """Whether the recorded examples get their recorded scores. If the fit that serves is another
    one, they are its scores, and `deploy` is the first to see them again."""
    scorer, contract = model.scorer, model.contract
    return model.again or all(
        abs(score_example(scorer, contract, example) - example["score"]) <= SCORE_TOLERANCE
        for example in model.examples
    )


def has_both_classes(rows: pa.Table) -> bool:
    """Whether rows with a label have one of either kind."""
    return 0 < (pc.sum(rows["label"]).as_py() or 0) < len(rows)
