"""Which dataset versions are needed."""

from datetime import UTC, datetime, timedelta

from breezeway.datasets.thinning import StoredVersion, unneeded

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def version(tag: str, days_ago: int, hash: str = "") -> StoredVersion:
    return StoredVersion(tag, hash or f"{tag}.dir", 1, NOW - timedelta(days=days_ago))


def dropped(*versions: StoredVersion, references: frozenset[str] = frozenset()) -> list[str]:
    keep_from = NOW - timedelta(days=90)
    return [version.tag for version in unneeded(versions, references, keep_from)]


def test_old_versions_that_nothing_refers_to_are_unneeded():
    versions = [version("a", 200), version("b", 100), version("c", 89), version("d", 0)]
    assert dropped(*versions) == ["a", "b"]
    assert dropped(*versions, references=frozenset({"a"})) == ["b"]


def test_the_newest_version_stays_however_old():
    assert dropped(version("a", 300), version("b", 200)) == ["a"]
    assert dropped() == []


def test_files_that_a_needed_version_has_too_stay():
    assert dropped(version("a", 200, "same.dir"), version("b", 0, "same.dir")) == []


def test_a_day_keeps_its_newest_revision_and_those_replaced_since():
    days = [
        version("p-day-20260101-1", 150),
        version("p-day-20260101-2", 140),  # replaced 100 days ago
        version("p-day-20260101-9", 100),  # replaced 10 days ago
        version("p-day-20260101-10", 10),
        version("p-day-20260102-1", 150),
        version("p-days-20260101-20260102-1", 150),
    ]
    assert dropped(*days, version("newest", 0)) == [
        "p-day-20260101-1",
        "p-day-20260101-2",
        "p-days-20260101-20260102-1",
    ]
