"""The examples of docs/payloads.md mean what the page says."""

import re
from datetime import datetime
from pathlib import Path

import pytest

from breezeway.contract.contract import Contract
from breezeway.contract.splitting import Sent

PAGE = Path("docs/payloads.md").read_text(encoding="utf-8")
_BLOCK = "```{}\n(.*?)\n```"
EXAMPLES = re.findall("\n\n".join(map(_BLOCK.format, ("toml", "(?:json|csv)", "text"))), PAGE, re.S)
HEAD = """
name = "x"
interval_seconds = 60
label = { column = "label" }
alarm = { false_episodes_per_day = 1 }
split = { by = "time" }
features = { window = 1, reading = { one = "1" } }
"""


def told(contract: Contract, sent: Sent) -> str:
    time = f"{datetime.replace(sent.time, tzinfo=None).isoformat()}" if sent.time else ""
    values = contract.parser.parse(sent.payload).items()
    words = [sent.device or "", time, *(f"{name}={value}" for name, value in values)]
    return " ".join(filter(None, words))


def test_there_are_examples():
    assert len(EXAMPLES) == PAGE.count("```toml") == 10


@pytest.mark.parametrize(("rules", "payload", "expected"), EXAMPLES)
def test_an_example_means_what_the_page_says(rules, payload, expected):
    contract = Contract.from_text(HEAD + rules, "x")
    several = contract.splitter.split(payload) if contract.splitter else [Sent(payload)]
    assert [told(contract, sent) for sent in several] == expected.splitlines()
