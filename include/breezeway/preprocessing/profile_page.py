"""The profile of readings as an HTML page: one file, without scripts, that asks no server.

Names of devices and examples of values come from clients. All text goes through a template that
escapes it; only the pictures are made here, and they are made of numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import log1p
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from breezeway.contract.contract import Contract
from breezeway.core.days import clock_time
from breezeway.core.times import from_iso
from breezeway.preprocessing.histograms import Histogram
from breezeway.preprocessing.manifest import Manifest
from breezeway.preprocessing.profile import (
    GAP_INTERVALS,
    STEPS_PER_OCTAVE,
    DeviceProfile,
    FieldProfile,
    Profile,
)

MOST_FIELDS = 120
"""Fields with a picture; a picture takes about a kilobyte."""
MOST_WORDS, MOST_DEVICES, MOST_GAPS = 8, 20, 10
BARS, FEWEST_BARS = 48, 9
HEIGHT = 56
TAIL = 0.001
"""Of the numbers, at either end, that do not stretch a picture."""
EXACT = 1e-9
"""Bins that are so narrow, as a share of the largest number, hold one number each."""
MANY_QUARANTINED, MANY_MISSING, FEW_READINGS = 0.01, 0.05, 0.9
"""Shares from which on they are named at the top of the page."""
NAMED = 3

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def profile_page(
    contract: Contract,
    manifest: Manifest,
    profile: Profile,
    *,
    title: str,
    source: str,
    questions: Sequence[str] = (),
    read_as: Mapping[str, str] | None = None,
) -> str:
    """Draw a profile.

    Args:
        contract: of the readings.
        manifest: what was left out, and why.
        profile: of the same readings.
        title: of the page.
        source: where the readings are from: a query, or a file.
        questions: to a person, at the top.
        read_as: keys of the contract's section `[files]` with their values, for a person to check.

    Returns:
        An HTML page whose size does not depend on the number of readings, devices or fields.
    """
    zone = contract.zone
    shown, silent = _shown_fields(profile), _silent(contract, profile)
    expected = manifest.rows + manifest.quarantined + profile.absent
    return _templates.get_template("profile.html").render(
        title=title,
        source=source,
        questions=questions,
        read_as=read_as or {},
        findings=list(_findings(contract, manifest, profile)),
        manifest=manifest,
        profile=profile,
        zone=contract.time_zone,
        first=_shown(manifest.raw.first_time, zone),
        last=_shown(manifest.raw.last_time, zone),
        present=manifest.rows / expected if expected else 0.0,
        labelled=sum(profile.labels[:2]),
        fields=[_card(contract, manifest, name, profile.fields[name]) for name in shown],
        hidden=len(profile.fields) - len(shown),
        times=_picture(profile.times, 2 * BARS),
        intervals=_intervals(contract, profile),
        gap_intervals=GAP_INTERVALS,
        gaps=[
            (gap.device, _duration(gap.end - gap.start), _at(gap.start, zone), _at(gap.end, zone))
            for gap in profile.longest[:MOST_GAPS]
        ],
        devices=[_device(each, zone) for each in profile.worst if each.lost or each in silent][
            :MOST_DEVICES
        ],
        height=HEIGHT,
    )


def _shown_fields(profile: Profile) -> list[str]:
    """Names of the fields with a picture, in order: if they are too many, those that miss most."""
    if len(profile.fields) <= MOST_FIELDS:
        return list(profile.fields)
    share = {name: each.missing / max(each.values, 1) for name, each in profile.fields.items()}
    most = set(sorted(share, key=lambda name: -share[name])[:MOST_FIELDS])
    return [name for name in profile.fields if name in most]


def _findings(contract: Contract, manifest: Manifest, profile: Profile) -> Iterator[str]:
    """One sentence for each thing that a person should look at."""
    rows = manifest.raw.rows - manifest.copies
    if manifest.quarantined > MANY_QUARANTINED * rows:
        yield f"{percent(manifest.quarantined / rows)} of the readings are in quarantine."
    usual = _usual_interval(contract, profile)
    if usual is not None and not 0.8 < usual / (contract.interval_seconds * 1e6) < 1.25:
        yield (
            f"Readings of a device usually come every {_duration(usual)}; the contract says "
            f"{_duration(contract.interval_seconds * 1e6)}."
        )
    missing = {name: each.missing / max(each.values, 1) for name, each in profile.fields.items()}
    for name in sorted(missing, key=lambda name: -missing[name])[:NAMED]:
        if missing[name] > MANY_MISSING:
            yield f"{name} has no value in {percent(missing[name])} of the readings."
    constant = [name for name, each in profile.fields.items() if _is_constant(each)]
    if constant:
        yield f"{_named(constant)} never {'vary' if len(constant) > 1 else 'varies'}."
    few = [each for each in profile.worst if each.rows < FEW_READINGS * (each.rows + each.lost)]
    if few:
        yield (
            f"{_named([each.device for each in few])}: less than {percent(FEW_READINGS)} of the "
            "expected readings are there and good."
        )
    silent = _silent(contract, profile)
    if profile.devices > manifest.rows / 2 > NAMED:
        yield "Most devices have a single row: is the device the right one?"
    elif silent:
        yield f"{_named([each.device for each in silent])}: silent at the end."
    if contract.has_labels and manifest.rows and not profile.labels[0]:
        yield "No reading is labelled as a fault."


def _silent(contract: Contract, profile: Profile) -> list[DeviceProfile]:
    """Those of the worst devices whose last row is some intervals older than the last of all."""
    since = profile.times.highest - GAP_INTERVALS * contract.interval_seconds * 1e6
    return [each for each in profile.worst if each.last is not None and each.last < since]


def _named(names: Sequence[str]) -> str:
    shown = [name[:60] for name in names[:NAMED]]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(shown) + more


def _is_constant(field: FieldProfile) -> bool:
    if field.words is not None:
        return sum(1 for count in field.words if count) == 1 and sum(field.words) > 1
    histogram = field.histogram
    return bool(histogram and sum(histogram.counts) > 1 and histogram.lowest == histogram.highest)


def _card(contract: Contract, manifest: Manifest, name: str, field: FieldProfile) -> dict[str, Any]:
    rules = contract.fields[name]
    reasons = {
        key.removeprefix(f"{name}."): count
        for key, count in manifest.missing.items()
        if key.rpartition(".")[0] == name
    }
    nulls = field.missing - sum(reasons.values())
    column = contract.files.columns.get(name)
    card: dict[str, Any] = {
        "name": name,
        "kind": " ".join(filter(None, (rules.type, rules.unit))),
        "column": f"{column}" if column not in (None, name) else "",
        "share": field.missing / max(field.values, 1),
        "missing": ([("null", nulls)] if nulls > 0 else []) + sorted(reasons.items()),
        "carried": manifest.carried.get(name, 0),
        "quarantined": [
            (each.reason, each.rows) for each in manifest.rejected if each.field == name
        ],
        "words": _words(rules.categories or ("false", "true"), field.words),
        "range": " to ".join(map(_number, rules.range or ())),
        "picture": None,
    }
    if field.histogram and field.histogram.counts:
        card["picture"] = _picture(field.histogram, BARS)
        card["median"] = _number(_quantile(field.histogram, 0.5))
        card["lowest"] = _number(field.histogram.lowest)
        card["highest"] = _number(field.histogram.highest)
    return card


def _words(words: Sequence[str], counts: list[int] | None) -> list[tuple[str, int, float]]:
    """Words with their counts and shares, the most frequent first, and the rest as one."""
    if not counts or not sum(counts):
        return []
    pairs = sorted(zip(words, counts, strict=False), key=lambda pair: -pair[1])
    rest = sum(count for _, count in pairs[MOST_WORDS:])
    listed = [*pairs[:MOST_WORDS], *([(f"{len(pairs) - MOST_WORDS} others", rest)] * bool(rest))]
    return [(word[:60], count, count / sum(counts)) for word, count in listed]


def _picture(histogram: Histogram, bars: int) -> dict[str, Any] | None:
    """Bars of a histogram; without the thin ends, if these take more than half of its width."""
    if not histogram.counts:
        return None
    places, counts = np.array(histogram.places), np.array(histogram.counts)
    begin, end = int(places[0]), int(places[-1]) + 1
    low, high = _reach(places, counts)
    if high - low < (end - begin) / 2:
        begin, end = max(begin, low - 1), min(end, high + 1)
    shown = (places >= begin) & (places < end)
    size = -(-(end - begin) // bars)
    heights = np.zeros(max(-(-(end - begin) // size), FEWEST_BARS))
    middle = (len(heights) * size - (end - begin)) // (2 * size)
    np.add.at(heights, (places[shown] - begin) // size + middle, counts[shown])
    width = 2.0**histogram.exponent
    return {
        "svg": _bars(heights.tolist()),
        "left": _number(max(histogram.lowest, begin * width)),
        "right": _number(min(histogram.highest, end * width)),
        "beyond": int(counts[~shown].sum()),
    }


def _reach(places: np.ndarray, counts: np.ndarray) -> tuple[int, int]:
    """The places, from and to, that hold all but the `TAIL` at either end."""
    allowed = TAIL * counts.sum()
    low = int(np.searchsorted(np.cumsum(counts), allowed, side="right"))
    high = int(np.searchsorted(np.cumsum(counts[::-1]), allowed, side="right"))
    return int(places[low]), int(places[len(places) - 1 - high]) + 1


def _quantile(histogram: Histogram, level: float) -> float:
    """About: numbers of a bin are taken as evenly spaced."""
    wanted, seen = level * sum(histogram.counts), 0
    for place, count in zip(histogram.places, histogram.counts, strict=True):
        if seen + count >= wanted:
            if 2.0**histogram.exponent < EXACT * max(-histogram.lowest, histogram.highest):
                return place * 2.0**histogram.exponent
            number = (place + (wanted - seen) / count) * 2.0**histogram.exponent
            return min(max(number, histogram.lowest), histogram.highest)
        seen += count
    return histogram.highest


def _bars(heights: Sequence[float], titles: Sequence[str] = ()) -> Markup:
    """Bars of the relative heights; what is not 0 can be seen."""
    top = max(heights) or 1.0
    wide = 1000 / len(heights)
    gap = min(wide / 6, 3)
    drawn = []
    for place, height in enumerate(heights):
        if height:
            tall = max(1.5, HEIGHT * height / top)
            box = f"M{place * wide:.1f} {HEIGHT}v-{tall:.1f}h{wide - gap:.1f}v{tall:.1f}z"
            title = f"<title>{titles[place]}</title>" if titles else ""
            drawn.append(f'<path d="{box}">{title}</path>' if title else box)
    inner = "".join(drawn) if titles else f'<path d="{"".join(drawn)}"/>'
    return Markup(f'<svg viewBox="0 0 1000 {HEIGHT}" preserveAspectRatio="none">{inner}</svg>')


def _intervals(contract: Contract, profile: Profile) -> dict[str, Any] | None:
    """Intervals between readings, with the logarithm of their counts; None if there are none."""
    counts = profile.intervals
    if not counts:
        return None
    first, last = min(0, *counts) - 1, max(0, *counts) + 1
    steps = range(first, last + 1)
    interval = contract.interval_seconds * 1e6

    def said(step: int) -> str:
        return _duration(interval * 2 ** (step / STEPS_PER_OCTAVE))

    total = sum(counts.values())
    usual = _usual_interval(contract, profile)
    near = sum(count for step, count in counts.items() if abs(step) <= 1)
    return {
        "svg": _bars(
            [log1p(counts.get(step, 0)) for step in steps],
            [f"about {said(step)}: {counts.get(step, 0):,}" for step in steps],
        ),
        "left": said(first),
        "right": said(last),
        "mark": 100 * (0.5 - first) / len(steps),
        "contract": _duration(interval),
        "usual": _duration(usual or 0),
        "near": near / total,
    }


def _usual_interval(contract: Contract, profile: Profile) -> float | None:
    """The median, to a fourth of a doubling, in microseconds."""
    seen, total = 0, sum(profile.intervals.values())
    for step, count in sorted(profile.intervals.items()):
        seen += count
        if 2 * seen >= total:
            return float(contract.interval_seconds * 1e6 * 2 ** (step / STEPS_PER_OCTAVE))
    return None


def _device(each: DeviceProfile, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "name": each.device,
        "rows": each.rows,
        "share": each.rows / max(each.rows + each.lost, 1),
        "quarantined": each.quarantined,
        "absent": each.absent,
        "gaps": each.gaps,
        "longest": _duration(each.longest) if each.longest else "",
        "last": _at(each.last, zone) if each.last is not None else "",
    }


def _shown(text: str | None, zone: ZoneInfo) -> str:
    return clock_time(from_iso(text), zone, "seconds") if text else ""


def _at(microseconds: int, zone: ZoneInfo) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    return clock_time(moment, zone, "seconds")


def _number(number: float) -> str:
    return f"{number:.4g}"


def _duration(microseconds: float) -> str:
    seconds = microseconds / 1e6
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1000:.3g} ms"


def percent(share: float) -> str:
    """A share; only 0 and 1 are shown as such."""
    if share in (0, 1) or 0.01 <= share <= 0.99:
        return f"{100 * share:.3g} %"
    if share < 0.01:
        return f"{100 * share:.2g} %" if share >= 0.0001 else "less than 0.01 %"
    return f"{min(100 * share, 99.99):.4g} %"


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


_templates.filters |= {"percent": percent, "cut": cut}
