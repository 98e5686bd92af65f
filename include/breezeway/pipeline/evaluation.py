"""Evaluates a model version and the champion on readings that they were not trained on.

`breezeway.steps.test` is the command.
"""

import logging
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from breezeway.core.errors import DataError
from breezeway.core.files import write_json, write_text
from breezeway.core.scratch import scratch
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.detector import scorecard
from breezeway.detector.alarm_rate import NOT_JUDGED
from breezeway.detector.alarm_reasons import alarm_reasons
from breezeway.detector.clock import fit_clock
from breezeway.detector.explanation import Explainer
from breezeway.detector.scorecard import Scorecard
from breezeway.detector.scoring import ScoringModel
from breezeway.drift import decision, hours, page, report
from breezeway.pipeline import scorecard_page
from breezeway.pipeline.evidence import has_both_classes, weigh
from breezeway.preprocessing.dataset import make_dataset
from breezeway.preprocessing.days import shape
from breezeway.preprocessing.manifest import Manifest
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import open_store
from breezeway.tracking import champions, registry, runs
from breezeway.tracking.gate import Evidence
from breezeway.tracking.load import load

log = logging.getLogger("breezeway.test")

FALSE_DISCOVERY_RATE = 0.02
"""The share of tests that find drift though nothing has changed."""

REPORTS = {
    "scorecard.html": "Scorecard",
    "classification.html": "Classification",
    "drift.html": "Distributions beside the training data",
    "alarm_reasons.png": "Which sensors make the alarms",
    "scorecard.json": "Scorecard (JSON)",
    "evidence.json": "Evidence for the gate (JSON)",
    "drift_findings.json": "What has drifted (JSON)",
}


def judge(query: str, name: str, version: str, settings: Settings) -> dict[str, Any]:
    """Evaluate a version; log the results to MLflow, and the evidence for the gate as its tag.

    Args:
        query: one SELECT of recent readings; empty for the dataset that the version was trained on.
        name, version: of the registered model.

    Returns:
        The result of the step.

    Raises:
        UsageError: there is no such model or version, or the query is not one SELECT.
        DataError: the model was trained on all of these readings, or they break the contract.
        ServiceUnavailable: MLflow or the raw store does not answer.
    """
    started = time.time()
    model = load(settings, name, version, judged=True)
    champion = _champion(settings, model)
    with scratch(settings, "test") as work:
        return _judge(query, model, champion, settings, work, started)


def _champion(settings: Settings, model: ScoringModel) -> ScoringModel | None:
    """The champion; None if there is none."""
    version = champions.champion(settings, model.name)
    if version is None or version == model.version:
        return model if version else None
    return load(settings, model.name, version)


def _judge(
    query: str,
    model: ScoringModel,
    champion: ScoringModel | None,
    settings: Settings,
    work: Path,
    started: float,
) -> dict[str, Any]:
    if query:
        readings, manifest = _features(query, model, settings, work / "dataset")
    else:
        readings, manifest = _dataset(model, settings)
        query = manifest.query
    unseen = readings.filter(pa.array(_unseen(readings, model)))
    if not len(unseen):
        raise DataError(
            f"query: all of its {len(readings)} good readings were used to train version "
            f"{model.version} of {model.name}; ask for newer ones."
        )
    unseen = unseen.append_column("score", pa.array(model.score_readings(unseen)))
    (reports := work / "reports").mkdir()
    truth = unseen.filter(unseen["label"].is_valid())
    both = None
    if champion and champion is not model and has_both_classes(truth):
        both = _beside(query, model, champion, truth, settings, work)
    reference = _reference(model, settings)
    clock = None
    if model.contract.has_labels:
        clock = fit_clock(scorecard.rows_of(reference), model.trained_on, settings.threads)
    evidence, cards = weigh(query, model, champion, unseen, both, clock)
    if evidence.labelled:
        report.report_classification(
            truth["label"].to_numpy(), truth["score"].to_numpy(), model.threshold, reports
        )
    _report_reasons(unseen, model, reports)
    drifted = _find_drift(reference, unseen, model, reports, settings.threads)
    evidence = replace(evidence, drifted=len(drifted))
    _write_scorecard(model, evidence, cards, reports)
    manifest.write(reports)
    run_id = _record(model, evidence, cards, reports, settings, started)
    return {
        "model_name": model.name,
        "model_version": model.version,
        "rows": len(readings),
        "judged": len(unseen),
        "copies": manifest.copies,
        "quarantined": manifest.quarantined,
        "drifted": drifted[:20],
        "evidence": {key: value for key, value in asdict(evidence).items() if key != "query"},
        "metrics": cards["model"].figures() if cards else None,
        "baselines": _of_baselines(cards),
        "run_id": run_id,
        **({} if evidence.has_labels else {"not_judged": NOT_JUDGED}),
    }


def _write_scorecard(
    model: ScoringModel, evidence: Evidence, cards: dict[str, Scorecard], reports: Path
) -> None:
    """For programs as JSON, for people as a page."""
    figures: dict[str, Any] = {name: card.figures() for name, card in cards.items()}
    write_json(
        reports / "scorecard.json",
        figures if evidence.has_labels else {"not_judged": NOT_JUDGED},
    )
    write_json(reports / "evidence.json", asdict(evidence))
    page = scorecard_page.draw(model.name, model.version, model.threshold, evidence, cards)
    write_text(reports / "scorecard.html", page)


def _of_baselines(cards: dict[str, Scorecard]) -> dict[str, dict[str, float | int | None]]:
    return {
        name: {
            "average_precision": card.average_precision,
            "f1": card.f1,
            "events_hit": card.events_hit,
        }
        for name, card in cards.items()
        if name not in ("model", "champion")
    }


def _features(
    query: str, model: ScoringModel, settings: Settings, folder: Path
) -> tuple[pa.Table, Manifest]:
    """Check the readings and make features from them, by the model's own contract."""
    contract = model.contract
    store = open_store(settings)
    folder.mkdir()
    chunks = store.stream(query, label=contract.label.column, with_ids=True)
    labels = LabelStore(settings.raw_address).labels_of(contract)
    spec = DatasetSpec(contract, query, labels, baselines=model.baselines)
    manifest = make_dataset(chunks, spec, folder, settings)
    return ds.dataset(folder / "features").to_table(), manifest


def _dataset(model: ScoringModel, settings: Settings) -> tuple[pa.Table, Manifest]:
    """The dataset that the version was trained on, with what was held out."""
    version = versions.open_dataset(settings, model.data_tag)
    table = ds.dataset(version.folder / "features").to_table()
    return table, Manifest.of(version.manifest, f"Dataset {version.tag!r}")


def _unseen(readings: pa.Table, model: ScoringModel) -> np.ndarray:
    return ~model.trained_on.covers(readings["device"], readings["time"])


def _beside(
    query: str,
    model: ScoringModel,
    champion: ScoringModel,
    truth: pa.Table,
    settings: Settings,
    work: Path,
) -> pa.Table:
    """The rows that the champion has not seen either, with both scores."""
    keys = ["device", "time", "label", "score"]
    readings = truth
    has_others = champion.baselines != model.baselines
    if has_others or shape(champion.contract) != shape(model.contract):
        readings, _ = _features(query, champion, settings, work / "dataset of the champion")
    readings = readings.filter(pa.array(_unseen(readings, champion)))
    scored = readings.select(["device", "time"]).append_column(
        "champion_score", pa.array(champion.score_readings(readings))
    )
    both = truth.select(keys).join(scored, ["device", "time"], join_type="inner")
    return both.sort_by([("device", "ascending"), ("time", "ascending")])


def _reference(model: ScoringModel, settings: Settings) -> pa.Table:
    """The rows that the model was trained on, with its scores."""
    version = versions.open_dataset(settings, model.data_tag)
    table = ds.dataset(version.folder / "features").to_table()
    table = table.filter(pa.array(model.trained_on.covers(table["device"], table["time"])))
    return table.append_column("score", pa.array(model.score_readings(table)))


def _report_reasons(unseen: pa.Table, model: ScoringModel, reports: Path) -> None:
    from breezeway.detector import plots  # Matplotlib: half a second

    alarms = unseen.filter(pa.array(unseen["score"].to_numpy() >= model.threshold))
    rows = np.column_stack([alarms[name].to_numpy() for name in model.feature_names])
    label = alarms["label"].cast(pa.float64()).to_numpy()
    explainer = Explainer(model.fitted_model, model.contract, model.usual)
    reasons = alarm_reasons(explainer, rows, label)
    plots.draw_reasons(reasons, reports / "alarm_reasons.png")


def _find_drift(
    reference: pa.Table, current: pa.Table, model: ScoringModel, reports: Path, threads: int
) -> list[str]:
    """The columns that have drifted, the lowest p-value first; writes findings and report."""
    columns = [*model.feature_names, "score"]
    moments = scorecard.microseconds(reference["time"])
    unit = decision.unit_length(int(moments.min()), int(moments.max()))
    old, new = (
        hours.Hours(table.to_reader(), columns, unit, threads, model.contract.zone)
        for table in (reference, current)
    )
    (findings,) = decision.find_drift(
        old,
        new,
        false_discovery_rate=FALSE_DISCOVERY_RATE,
        by_device=model.trained_on.devices is not None,
    )
    for finding in findings:
        log.info("drift: %s", finding)
    write_json(reports / "drift_findings.json", [asdict(finding) for finding in findings])
    sides = (
        report.sample(reference.to_batches(), len(reference)),
        report.sample(current.to_batches(), len(current)),
    )
    note = page.about_plots(sides, f"the {len(current)} judged")
    title = f"{model.name} {model.version}: readings beside the training data"
    preface = page.page_of_findings(title, findings, note)
    report.report_drift(*sides, columns, reports, preface)
    return list(dict.fromkeys(finding.column for finding in findings))


def _record(
    model: ScoringModel,
    evidence: Evidence,
    cards: dict[str, Scorecard],
    reports: Path,
    settings: Settings,
    started: float,
) -> str:
    """Log the reports to an MLflow run, and then the evidence to the version."""
    tags = {"drifted": str(evidence.drifted)}
    name, experiment = f"test {model.name} {model.version}", model.contract.name
    with runs.recorded(settings, experiment, name, started=started, tags=tags) as run_id:
        import mlflow

        figures = cards["model"].figures() if cards else {}
        if promise := evidence.promise:
            figures |= {
                "alarm_episodes": promise.episodes,
                "device_days": promise.device_days,
                "alarm_episodes_per_day": promise.episodes / promise.device_days,
                "alarm_share": promise.share,
            }
        mlflow.log_metrics({key: value for key, value in figures.items() if value is not None})
        about = f"{model.name}/{model.version}"
        runs.add_reports(settings, run_id, reports, REPORTS, step="test", about=about)
    registry.tag_version(settings, model.name, model.version, evidence=evidence.to_json())
    return run_id
