"""The page of a profile: what it says, that it is harmless, and that it stays small."""

import re

import pytest

from breezeway.contract.contract import Contract
from breezeway.preprocessing.histograms import Histogram
from breezeway.preprocessing.manifest import Manifest, RawSummary, Rejected
from breezeway.preprocessing.profile import DeviceProfile, FieldProfile, Gap, Profile
from breezeway.preprocessing.profile_page import percent, profile_page

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>{{ 7 * 7 }}'
HOUR = 3_600_000_000


def contract_of(fields: dict[str, str]) -> Contract:
    tables = "".join(f"[fields.{name}]\n{keys}\n" for name, keys in fields.items())
    first = next(iter(fields))
    return Contract.from_text(
        f'name = "pump"\ninterval_seconds = 60\n[payload]\nformat = "json"\n{tables}'
        f'[features]\nwindow = 1\n[features.reading]\n{first} = "{first}"\n'
        '[label]\ntable = "labels"\n[alarm]\nfalse_episodes_per_day = 1\n'
        '[split]\nby = "time"\nfolds = 2\n',
        "pump.toml",
    )


def manifest_of(**changed) -> Manifest:
    raw = RawSummary(
        rows=1000, first_time="2026-03-01T00:00:00", last_time="2026-03-02T00:00:00", sha256="0"
    )
    filled = {"rows": 970, "copies": 10, "quarantined": 20, "reasons": {"null": 20}} | changed
    return Manifest(contract="pump", query="SELECT 1", raw=raw, features=["x"], **filled)


def field(**changed) -> FieldProfile:
    numbers = Histogram(exponent=0, places=[1, 2, 4], counts=[10, 50, 10], lowest=1.5, highest=4.5)
    return FieldProfile(**{"values": 970, "missing": 0, "histogram": numbers} | changed)


def page_of(contract: Contract, manifest: Manifest, profile: Profile, **more) -> str:
    return profile_page(contract, manifest, profile, **{"title": "t", "source": "s"} | more)


@pytest.fixture
def contract() -> Contract:
    return contract_of({"x": 'type = "float"\nunit = "bar"\nrange = [0, 9]\ninvalid = "missing"'})


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.S).split())


def test_it_says_what_came_in_and_what_became_of_it(contract):
    rejected = [Rejected(field="x", reason="wrong_type", rows=20, example="x: '57,7' (a comma?)")]
    manifest = manifest_of(rejected=rejected, missing={"x.out_of_range": 30})
    said = text_of(page_of(contract, manifest, Profile(fields={"x": field(missing=97)})))
    assert "1,000 readings in 970 rows 10 exact copies 20 in quarantine" in said
    assert "2.02 % of the readings are in quarantine." in said
    assert "x wrong_type 20 2 % x: &#39;57,7&#39; (a comma?)" in said
    assert "10 % missing: 67 null, 30 out of range" in said
    assert "x has no value in 10 % of the readings." in said
    assert "good: 0 to 9" in said


def test_it_says_where_readings_are_absent(contract):
    worst = [DeviceProfile(device="p-1", rows=60, gaps=1, absent=40, longest=41 * HOUR, last=HOUR)]
    profile = Profile(
        fields={"x": field()},
        intervals={0: 5, 12: 90},
        gaps=1,
        absent=40,
        late=7,
        longest=[Gap(device="p-1", start=0, end=41 * HOUR)],
        devices=1,
        worst=worst,
        labels=(5, 95, 870),
    )
    said = text_of(page_of(contract, manifest_of(), profile))
    assert "usually come every 8 min; the contract says 1 min." in said
    assert "p-1: less than 90 % of the expected readings are there and good." in said
    assert "1 gap is longer than 5 intervals; 40 readings are absent there." in said
    assert "7 rows arrived after a newer one" in said
    assert "p-1 1.71 d 1970-01-01 00:00:00+00:00 1970-01-02 17:00:00+00:00" in said
    assert "p-1 60 60 % 0 40 1 1.71 d" in said
    assert "5 % of the labelled rows are faults; 870 have no label" in said


def test_a_good_dataset_needs_no_look(contract):
    profile = Profile(fields={"x": field()}, intervals={0: 969}, labels=(1, 969, 0))
    assert "Nothing stands out." in page_of(
        contract, manifest_of(quarantined=0, reasons={}), profile
    )


def test_hostile_names_and_values_are_text(contract):
    profile = Profile(
        fields={"x": field()},
        longest=[Gap(device=HOSTILE, start=0, end=HOUR)],
        devices=1,
        worst=[DeviceProfile(device=HOSTILE, rows=1, quarantined=50)],
    )
    rejected = [Rejected(field="x", reason="null", rows=20, example=HOSTILE)]
    more = {"title": HOSTILE, "source": HOSTILE, "questions": [HOSTILE], "read_as": {"a": HOSTILE}}
    page = page_of(contract, manifest_of(rejected=rejected), profile, **more)
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 8
    tags = {tag.lower() for tag in re.findall(r"<\s*([a-zA-Z0-9]+)", page)}
    assert not tags & {"script", "img", "iframe", "object", "link", "a", "form"}
    assert not re.search(r"<[^>]*\son\w+\s*=", page)
    assert "49" not in text_of(page).split()


def test_hostile_names_in_a_contract_are_text():
    words = f"type = \"category\"\ncategories = ['{HOSTILE}']"
    hostile = contract_of({"x": words})
    page = page_of(hostile, manifest_of(), Profile(fields={"x": field(histogram=None, words=[9])}))
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "<img" not in page


def test_it_asks_no_server_and_has_no_script(contract):
    page = page_of(contract, manifest_of(), Profile(fields={"x": field()}))
    assert not re.search(r"https?:|//|url\(|@import|<script|javascript:", page)


def test_it_stays_small_with_hundreds_of_fields_and_thousands_of_devices():
    many = contract_of({f"f{k}": 'type = "float"' for k in range(400)})
    fields = {f"f{k}": field(missing=k) for k in range(400)}
    worst = [DeviceProfile(device="d" * 250 + str(k), quarantined=1, rows=1) for k in range(200)]
    rejected = [Rejected(field="f1", reason="null", rows=1, example="x" * 9000)] * 20
    profile = Profile(fields=fields, devices=5000, worst=worst)
    page = page_of(many, manifest_of(rejected=rejected), profile, source="q" * 90_000)
    assert len(page) < 150_000
    assert "280 further fields, with fewer missing values, are not shown." in page
    assert "f399 " in page and "f0 " not in page
    assert "4,980 further devices lost fewer readings, or none." in page


def test_an_outlier_does_not_flatten_a_picture(contract):
    places = [*range(40), 1_000_000]
    numbers = Histogram(places=places, counts=[100] * 40 + [1], lowest=0.5, highest=1e6)
    page = page_of(contract, manifest_of(), Profile(fields={"x": field(histogram=numbers)}))
    picture = re.search(r'<path d="([^"]+)"', page)
    assert picture and picture[1].count("M") == 40
    assert "1 beyond: 0.5 to 1e+06" in page


def test_the_median_of_few_values_is_one_of_them(contract):
    tiny = -52
    numbers = Histogram(exponent=tiny, places=[0, 1 << 52], counts=[9, 1], lowest=0, highest=1)
    page = page_of(contract, manifest_of(), Profile(fields={"x": field(histogram=numbers)}))
    assert "median 0<" in page


def test_a_device_for_each_row_is_asked_about(contract):
    many = Profile(fields={"x": field()}, devices=970)
    assert "is the device the right one?" in page_of(contract, manifest_of(), many)
    assert "is the device" not in page_of(contract, manifest_of(), Profile(fields={"x": field()}))


def test_a_device_that_fell_silent_is_named(contract):
    worst = [
        DeviceProfile(device="p-1", rows=500, last=23 * HOUR),
        DeviceProfile(device="p-2", rows=470, last=24 * HOUR),
    ]
    times = Histogram(places=[0, 24 * HOUR], counts=[1, 1], lowest=0, highest=24 * HOUR)
    profile = Profile(fields={"x": field()}, times=times, devices=2, worst=worst)
    said = text_of(page_of(contract, manifest_of(), profile))
    assert "p-1: silent at the end." in said
    assert "p-1 500 100 %" in said and "p-2 470" not in said


def test_a_dataset_without_a_row_has_a_page(contract):
    empty = field(values=0, histogram=None)
    page = page_of(contract, manifest_of(rows=0, quarantined=1000), Profile(fields={"x": empty}))
    assert "no value" in page


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0 %"), (1, "100 %"), (0.5, "50 %"), (0.004, "0.4 %"), (1e-7, "less than 0.01 %")],
)
def test_only_nothing_is_told_as_nothing(share, said):
    assert percent(share) == said


def test_not_quite_all_is_not_all():
    assert percent(0.9999999) == "99.99 %"


def test_values_that_were_carried_are_not_missing(contract):
    manifest = manifest_of(carried={"x": 1800})
    said = text_of(page_of(contract, manifest, Profile(fields={"x": field()})))
    assert "1,800 carried forward" in said and "% missing" not in said
