"""Pick the stretches of readings that are most worth a person's look, as a queue to label.

Each reason to look has an order of its own, and these take turns. The help of the command
`label-queue` says which they are.
"""

import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.dataset as ds

from breezeway.contract.contract import load_contract
from breezeway.core.errors import DataError, UsageError
from breezeway.core.scratch import scratch
from breezeway.core.settings import Settings
from breezeway.detector.scoring import ScoringModel
from breezeway.preprocessing.dataset import make_dataset
from breezeway.preprocessing.spec import DatasetSpec
from breezeway.readings.label_store import LabelStore
from breezeway.readings.store import RawStore, open_store
from breezeway.tracking import champions, reports
from breezeway.tracking.load import load
from breezeway.tracking.registry import newest_version

log = logging.getLogger("breezeway")

DISAGREE, UNSURE, DRIFTED = "models disagree", "model unsure", "drifted device"
REASONS = (DISAGREE, UNSURE, DRIFTED)


REPORT_PAGES = 20
"""The most pages of reports that are searched for the last drift check."""


@dataclass(frozen=True)
class Item:
    """A stretch of readings to be labelled.

    Args:
        start, end: half open, UTC.
        reason: one of `REASONS`.
        score: the champion's, of the reading that the reason is about.
        threshold: of the champion: an alarm from there on.
        challenger_score: of the same reading; None without a challenger.
    """

    device: str
    start: datetime
    end: datetime
    reason: str
    score: float
    threshold: float
    challenger_score: float | None


def make_queue(
    settings: Settings,
    folder: Path,
    *,
    model_name: str | None,
    challenger_version: str | None,
    query: str | None,
    count: int,
) -> dict[str, Any]:
    """Pick stretches and write the files for those who label them.

    Args:
        folder: for the files.
        model_name: the registered model; the contract's if not given.
        challenger_version: a number or alias; the newest version if not given and it is not the
            champion.
        query: one SELECT of the readings to pick from; the last 7 days if not given.
        count: stretches to pick.

    Raises:
        UsageError: the model has no champion, or the query cannot be used.
        BreezewayError: a store does not answer.
    """
    name = model_name or load_contract(settings.sensors).name
    version = champions.champion(settings, name)
    if version is None:
        raise UsageError(f"{name!r} has no champion, so nothing is known to be unsure.")
    champion = load(settings, name, version)
    challenger = _challenger(settings, champion, challenger_version)
    store = open_store(settings)
    query = query or _last_week(store)
    readings = _scored(store, query, champion, settings)
    rival = _scored(store, query, challenger, settings) if challenger else None
    items = pick(
        readings,
        champion,
        rival,
        challenger.threshold if challenger else 1.0,
        drifted=_drifted_devices(settings, name),
        known=_looked_at(LabelStore(settings.raw_address), champion),
        count=count,
    )
    write(items, readings, champion, folder)
    return {
        "model": f"{name}/{version}",
        "challenger": challenger and f"{name}/{challenger.version}",
        "readings": len(readings),
        "picked": {reason: sum(item.reason == reason for item in items) for reason in REASONS},
        "folder": str(folder),
    }


def pick(
    readings: pa.Table,
    champion: ScoringModel,
    rival: pa.Table | None,
    rival_threshold: float,
    *,
    drifted: set[str],
    known: pa.Table,
    count: int,
) -> list[Item]:
    """Choose what is most worth a look.

    Args:
        readings: device, time and score, by device and time.
        rival: the challenger's table of the same kind; None where there is none.
        drifted: names of devices.
        known: device, start and end of stretches that nobody has to look at again.
        count: how many at most.
    """
    length = round(champion.contract.window * champion.contract.interval_seconds * 10**6)
    device = readings["device"].combine_chunks().dictionary_encode()
    names, codes = device.dictionary.to_pylist(), device.indices.to_numpy()
    time = readings["time"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    score = readings["score"].to_numpy()
    other = _beside(readings, rival)
    keys, block = np.unique(np.stack([codes, time // length], axis=1), axis=0, return_inverse=True)
    block = block.ravel()
    unsure = np.abs(_logit(score) - _logit(champion.threshold))
    apart = (score >= champion.threshold) != (other >= rival_threshold)
    apart &= ~np.isnan(other)
    gap = np.where(apart, np.abs(_logit(score) - _logit(other)), -1)
    orders = {
        DISAGREE: _order(block, -gap, len(keys), where=apart),
        UNSURE: _order(block, unsure, len(keys)),
        DRIFTED: _order(
            block,
            unsure,
            len(keys),
            where=np.isin(codes, [n for n, name in enumerate(names) if name in drifted]),
        ),
    }
    free = _free(names, keys, length, known)
    items = []
    for reason, row in islice(_take_turns(orders, keys, block, free), count):
        start = int(keys[block[row], 1]) * length
        items.append(
            Item(
                device=names[codes[row]],
                start=_time(start),
                end=_time(start + length),
                reason=reason,
                score=float(score[row]),
                threshold=champion.threshold,
                challenger_score=None if np.isnan(other[row]) else float(other[row]),
            )
        )
    return items


def write(items: Sequence[Item], readings: pa.Table, model: ScoringModel, folder: Path) -> None:
    """Write the queue's files; the readings' features are drawn around each stretch."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{key: _text(value) for key, value in asdict(item).items()} for item in items]
    table = pa.table(
        {name: [row[name] for row in rows] for name in Item.__dataclass_fields__}
        | {"label": [""] * len(rows)}
    )
    tasks = [
        {"data": {**row, "series": _series(item, readings, model)}}
        for item, row in zip(items, rows, strict=True)
    ]
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        pcsv.write_csv(table, Path(aside) / "queue.csv")
        (Path(aside) / "label-studio.json").write_text(json.dumps(tasks), encoding="utf-8")
        (Path(aside) / "label-studio.xml").write_text(_interface(model), encoding="utf-8")
        for path in Path(aside).iterdir():
            path.replace(folder / path.name)


def _challenger(
    settings: Settings, champion: ScoringModel, version: str | None
) -> ScoringModel | None:
    if version is not None:
        return load(settings, champion.name, version)
    newest = newest_version(settings, champion.name)
    return load(settings, champion.name, newest) if newest != champion.version else None


def _last_week(store: RawStore) -> str:
    newest = store.newest()
    if newest is None:
        raise DataError("The raw store holds no reading whose time can be read.")
    return store.query_since(newest[1] - timedelta(days=7))


def _scored(store: RawStore, query: str, model: ScoringModel, settings: Settings) -> pa.Table:
    """Readings that keep the contract, with features and score, by device and time."""
    with scratch(settings, "label-queue") as work:
        folder = work / "dataset"
        folder.mkdir()
        spec = DatasetSpec(model.contract, query, baselines=model.baselines)
        make_dataset(store.stream(query, with_ids=True), spec, folder, settings)
        table = ds.dataset(folder / "features").to_table()
    table = table.sort_by([("device", "ascending"), ("time", "ascending")])
    return table.append_column("score", pa.array(model.score_readings(table)))


def _looked_at(labels: LabelStore, model: ScoringModel) -> pa.Table:
    if not model.contract.has_labels:
        found = [labels.imported(), labels.reviews()]
    elif model.contract.label.table is not None:
        found = [labels.labels(model.contract.label.table), labels.reviews()]
    else:
        raise UsageError(
            f"The labels of {model.name!r} are a column of its readings "
            f"({model.contract.label.column!r}), which no queue can fill: label.table is needed."
        )
    return pa.concat_tables([table.select(["device", "start", "end"]) for table in found])


def _drifted_devices(settings: Settings, name: str) -> set[str]:
    """Devices that the last drift check of the model named."""
    page = ""
    for _ in range(REPORT_PAGES):
        found, page = reports.find(settings, model=name, page=page)
        for run in found:
            if run.step == "drift":
                with reports.open_report(settings, run, "findings.json") as content:
                    night = json.load(content)
                findings = [*night["confirmed"], *night["nights"][-1]["found"]]
                return {finding["device"] for finding in findings if finding["device"]}
        if not page:
            break
    return set()


def _beside(readings: pa.Table, rival: pa.Table | None) -> np.ndarray:
    """The other model's score of each reading; NaN where it has none."""
    if rival is None:
        return np.full(len(readings), np.nan)
    keys = ["device", "time"]
    numbered = readings.select(keys).append_column("row", pa.array(np.arange(len(readings))))
    both = numbered.join(rival.select([*keys, "score"]), keys, join_type="inner")
    scores = np.full(len(readings), np.nan)
    scores[both["row"].to_numpy()] = both["score"].to_numpy()
    return scores


def _logit(score: np.ndarray | float) -> np.ndarray:
    inside = np.clip(score, 1e-6, 1 - 1e-6)
    odds: np.ndarray = inside / (1 - inside)
    return np.log(odds)


def _order(
    block: np.ndarray, cost: np.ndarray, blocks: int, where: np.ndarray | None = None
) -> list[int]:
    """The cheapest row of each block, the cheapest block first; of rows in `where` only."""
    rows = np.arange(len(block)) if where is None else np.flatnonzero(where)
    best = np.full(blocks, np.inf)
    np.minimum.at(best, block[rows], cost[rows])
    cheapest = rows[cost[rows] == best[block[rows]]]
    _, first = np.unique(block[cheapest], return_index=True)
    rows = cheapest[first]
    return [int(row) for row in rows[np.argsort(cost[rows], kind="stable")]]


def _free(names: list[str], keys: np.ndarray, length: int, known: pa.Table) -> np.ndarray:
    """Which blocks (device code, number) no known stretch touches."""
    free = np.ones(len(keys), dtype=bool)
    starts = known["start"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    ends = known["end"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
    for name, start, end in zip(known["device"].to_pylist(), starts, ends, strict=True):
        if name in names:
            mine = keys[:, 0] == names.index(name)
            first = keys[:, 1] * length
            free &= ~(mine & (first < end) & (first + length > start))
    return free


def _take_turns(
    orders: dict[str, list[int]], keys: np.ndarray, block: np.ndarray, free: np.ndarray
) -> Iterator[tuple[str, int]]:
    """Reason and row of each pick; no two picks are neighbours in time on one device."""
    taken: set[tuple[int, int]] = set()

    def place(row: int) -> tuple[int, int]:
        code, number = keys[block[row]]
        return int(code), int(number)

    def is_free(row: int) -> bool:
        code, number = place(row)
        near = {(code, number + step) for step in (-1, 0, 1)}
        return bool(free[block[row]]) and not near & taken

    queues = {reason: iter(rows) for reason, rows in orders.items()}
    while queues:
        for reason, rows in list(queues.items()):
            row = next(filter(is_free, rows), None)
            if row is None:
                del queues[reason]
                continue
            taken.add(place(row))
            yield reason, row


def _series(item: Item, readings: pa.Table, model: ScoringModel) -> dict[str, list[float | None]]:
    """The features around a stretch, as long again on either side; time in Unix milliseconds."""
    around = item.end - item.start
    times = [pa.scalar(t, readings["time"].type) for t in (item.start - around, item.end + around)]
    shown = readings.filter(
        pc.and_(
            pc.equal(readings["device"], item.device),
            pc.and_(
                pc.greater_equal(readings["time"], times[0]), pc.less(readings["time"], times[1])
            ),
        )
    )
    series: dict[str, list[float | None]] = {}
    series["time"] = [round(time.timestamp() * 1000) for time in shown["time"].to_pylist()]
    for name in [*model.feature_names, "score"]:
        values = shown[name].to_pylist()
        series[name] = [None if v is None or v != v else float(f"{v:.6g}") for v in values]
    return series


def _interface(model: ScoringModel) -> str:
    channels = "\n".join(
        f"    <Channel column={quoteattr(name)} legend={quoteattr(name)}/>"
        for name in ["score", *model.feature_names]
    )
    return f"""\
<View>
  <Header value="$device, $start to $end: $reason"/>
  <TimeSeriesLabels name="label" toName="series">
    <Label value="fault" background="red"/>
  </TimeSeriesLabels>
  <TimeSeries name="series" value="$series" valueType="json" timeColumn="time"
      timeDisplayFormat="%Y-%m-%d %H:%M:%S" overviewChannels="score">
{channels}
  </TimeSeries>
</View>
"""


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 10**6, UTC)


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
