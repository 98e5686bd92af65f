"""Each record of a decision names a module, and benches or a test, that there are."""

import re
from pathlib import Path

import pytest

from bench.page import BENCHES
from tests.fixtures import ROOT

FOLDER = ROOT / "docs" / "decisions"
RECORDS = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
HEAD = re.compile(
    r"^Module: `(include/[\w/]+\.py)`\. "
    r'(?:Bench: `make bench ONLY="?([a-z ]+)"?`|Test: `(tests/[\w/]+\.py)`)\.$'
)
PARTS = ("Context", "Measured", "Decision", "What would change it")
MOST_LINES = 45


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
class TestRecord:
    def test_its_module_and_what_measured_it_exist(self, record: Path) -> None:
        head = HEAD.match(record.read_text("utf-8").splitlines()[2])
        assert head, "the third line names a module, and a bench or a test"
        assert (ROOT / head[1]).is_file()
        if head[3]:
            assert (ROOT / head[3]).is_file()
        else:
            assert set(head[2].split()) <= set(BENCHES)

    def test_it_says_what_a_record_says_on_half_a_page(self, record: Path) -> None:
        text = record.read_text("utf-8")
        places = [text.find(f"\n**{part}") for part in PARTS]
        assert -1 not in places
        assert places == sorted(places)
        assert len(text.splitlines()) <= MOST_LINES

    def test_the_index_has_it(self, record: Path) -> None:
        assert f"]({record.name})" in (FOLDER / "README.md").read_text("utf-8")
