"""What `new-sensor` refuses to guess, and how it says so."""

import re

import pytest

from breezeway.core.errors import DataError
from breezeway.readings.file_guesses import guess


@pytest.fixture
def refused(tmp_path):
    """What is said of a file."""

    def refused(data) -> str:
        file = tmp_path / "a.csv"
        file.write_bytes(data if isinstance(data, bytes) else data.encode())
        with pytest.raises(DataError) as caught:
            guess(file, tmp_path)
        return str(caught.value)

    return refused


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("pump,device=m temp=2.5,press=1 1769860800000000000\n", "line protocol of InfluxDB"),
        ("pump temp=2.5,press=1 1769860800000000000\n", "line protocol of InfluxDB"),
        ('# HELP temp x\n# TYPE temp gauge\ntemp{device="m"} 2.5\n', "the text of Prometheus"),
        ('temp{device="m"} 2.5 1769860800000\n', "the text of Prometheus"),
        ("t=2026-01-31 temp=2.5\nt=2026-02-01 temp=3\n", "a text of key=value lines"),
    ],
)
def test_texts_of_another_kind_are_refused_with_what_helps(refused, data, said):
    assert f"is {said}" in refused(data) or f"is the {said}" in refused(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "no rows to look at"),
        ("#\n#\n", "no rows to look at"),
        ("time,a\n", "no rows to look at"),
        (bytes(range(1, 256)) * 9, "not cp1252"),
        (b"time,a\n1,2\n\0", "holds bytes of zero"),
        ("a" * 5_000_000, "line 1: a line of more than 4194304 bytes"),
        ("1," * 6000, "6000 columns: expected up to 5000|6001 columns"),
    ],
)
def test_what_is_no_table_is_refused_soon(refused, data, said):
    assert re.search(said, refused(data))


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ("{0};1.{0};RUN", 'payload.format = "delimited"'),
        ("FF{0:04}C8", "hexadecimal registers?"),
        ("temp={0}.5&press=3", "pairs of key=value?"),
    ],
)
def test_payloads_that_are_no_json_are_named(refused, payload, said):
    rows = "".join(f"2026-01-31 12:00:{k:02},{payload.format(k)}\n" for k in range(30))
    found = refused(f"time,payload\n{rows}")
    assert "'payload' is left out: it holds many texts" in found and said in found
