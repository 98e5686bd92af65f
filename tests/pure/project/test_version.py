"""The version stands in pyproject.toml; what cannot read it there says the same."""

import re
import tomllib

import pytest

from tests.fixtures import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


@pytest.mark.parametrize(
    ("file", "pattern", "count"),
    [
        ("helm/breezeway/Chart.yaml", r"^(?:version|appVersion): (.+)$", 2),
        ("helm/breezeway/values.yaml", r"^  defaultAirflowTag: (.+)$", 1),
        ("helm/breezeway/values.yaml", r"name: breezeway/\w+, tag: ([^}]+)}", 1),
        ("docker/compose.yaml", r"\$\{BREEZEWAY_TAG:-([^}]+)\}", 3),
    ],
)
def test_who_repeats_the_version_says_the_same(file: str, pattern: str, count: int) -> None:
    found = re.findall(pattern, (ROOT / file).read_text("utf-8"), re.MULTILINE)
    assert found == [VERSION] * count


def test_the_changelog_knows_the_version() -> None:
    assert f"\n## [{VERSION}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
