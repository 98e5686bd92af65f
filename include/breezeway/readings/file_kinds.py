"""Files that are packed, and files that are no text: told by their first bytes."""

import gzip
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import NoReturn, Protocol

from breezeway.core.errors import DataError

HEAD_BYTES = 600
PARQUET = b"PAR1"
GZIP = b"\x1f\x8b"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
TABLE = "write its table as Parquet or CSV"
KINDS = {
    b"BZh91AY&SY": ("packed by bzip2", "unpack it"),
    b"\xfd7zXZ\0": ("packed by xz", "unpack it"),
    b"\x28\xb5\x2f\xfd": ("packed by Zstandard", "unpack it"),
    b"7z\xbc\xaf": ("packed by 7-Zip", "unpack it"),
    b"Rar!\x1a\x07": ("packed by RAR", "unpack it"),
    b"\xd0\xcf\x11\xe0": ("a spreadsheet of an old form (.xls)", "save its sheet as CSV"),
    b"\x89HDF": ("HDF5", TABLE),
    b"MATLAB 5.0 MAT-file": ("a file of MATLAB", TABLE),
    b"TDSm": ("TDMS of LabVIEW", TABLE),
    b"ARROW1\0": ("a file of Arrow", TABLE),
    b"Obj\x01": ("Avro", "write its records as Parquet or JSON lines"),
    b"SQLite format 3\0": ("a database of SQLite", "read it by the contract's section [source]"),
    b"%PDF-": ("a PDF", "export the table as CSV"),
}
"""How files begin that are no text → what they are, and what to do."""
MARKUP = re.compile(rb"(\xef\xbb\xbf)?\s*<(\?xml|!doctype|html|table)\b", re.I)
TEXTS = {
    re.compile(rb"# (HELP|TYPE) \w|\w+\{\w+=\""): (
        "the text of Prometheus",
        "query its values as JSON, and write them as JSON lines",
    ),
    re.compile(rb"([\w.]+=)[^\r\n]+\r?\n\1\S"): (
        "a text of key=value lines",
        "write them as JSON lines",
    ),
    re.compile(
        rb"(#[^\n]*\n)*[^\s,{\[\"]+((,[^\s,=]+=[^\s,]+)+ +[^\s,=]+=[^\s,]"
        rb"| +[^\s,=]+=[^\s,][^\r\n]* [0-9]{10,19}\s*[\r\n])"
    ): (
        "the line protocol of InfluxDB",
        'export it as CSV, or write it by Telegraf with data_format = "json"',
    ),
}
"""Texts in which a row names its values → what they are, and what to do."""
JSON = re.compile(rb'(\xef\xbb\xbf)?\s*(\[\s*)?\{\s*"')
SHEET = re.compile(rb'<sheet\b[^>]*?\bname="([^"]{0,100})"')
BOOK_BYTES = 1 << 20
"""Of the list of a spreadsheet's sheets."""


def refuse_kind(file: Path, head: bytes, *, is_table: bool) -> None:
    """Make sure that a file may be text.

    Args:
        head: its first bytes, unpacked.
        is_table: whether rows are expected whose values a header names.

    Raises:
        DataError: it is something else; the message says what, and what to do.
    """
    for begin, (kind, help) in KINDS.items():
        if head.startswith(begin):
            _refuse(file, kind, help)
    if found := MARKUP.match(head):
        _refuse(file, "XML" if found[2] == b"?xml" else "HTML", "export its table as CSV")
    for form, (kind, help) in TEXTS.items():
        if is_table and form.match(head):
            _refuse(file, kind, help)


def _refuse(file: Path, kind: str, help: str) -> NoReturn:
    raise DataError(
        f"{file}: is {kind}: expected CSV, JSON or Parquet, as they are or packed by gzip or zip; "
        f"{help}. Nothing was loaded."
    )


class Reader(Protocol):
    """What gives bytes."""

    def read(self, size: int, /) -> bytes: ...


@contextmanager
def opened(file: Path, head: bytes) -> Iterator[Reader]:
    """The file's content, unpacked.

    Args:
        head: its first bytes.

    Raises:
        DataError: it is a spreadsheet, or a zip file of several files.
    """
    if head.startswith(ZIP):
        with zipfile.ZipFile(file) as packed, packed.open(_member(file, packed)) as source:
            yield source
    elif head.startswith(GZIP):
        with gzip.open(file) as source:
            yield source
    else:
        with file.open("rb") as source:
            yield source


def name_of_content(file: Path, head: bytes) -> str:
    """The name of a file, or of the one in a zip file, which tells the format.

    Raises:
        DataError: it is a spreadsheet, or a zip file of several files.
    """
    if not head.startswith(ZIP):
        return file.name
    with zipfile.ZipFile(file) as packed:
        return Path(_member(file, packed).filename).name


def _member(file: Path, packed: zipfile.ZipFile) -> zipfile.ZipInfo:
    names = packed.namelist()
    if "xl/workbook.xml" in names or "xl/workbook.bin" in names:
        _refuse_spreadsheet(file, packed)
    if "content.xml" in names and "mimetype" in names:
        _refuse(file, "a spreadsheet (.ods)", "save its sheet as CSV")
    members = [each for each in packed.infolist() if not each.is_dir()]
    members = [each for each in members if not each.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        raise DataError(
            f"{file}: the zip file has {len(members)} files: expected one. Unpack it, and name "
            "the files or their folder. Nothing was loaded."
        )
    if members[0].flag_bits & 1:
        raise DataError(f"{file}: the zip file is encrypted; unpack it. Nothing was loaded.")
    return members[0]


def _refuse_spreadsheet(file: Path, packed: zipfile.ZipFile) -> NoReturn:
    sheets: list[bytes] = []
    if "xl/workbook.xml" in packed.namelist():
        with packed.open("xl/workbook.xml") as book:
            sheets = SHEET.findall(book.read(BOOK_BYTES))
    names = ", ".join(repr(unescape(name.decode(errors="replace"))) for name in sheets[:10])
    which = f" with the sheets {names}" if len(sheets) > 1 else ""
    _refuse(file, f"a spreadsheet (.xlsx){which}", "save the sheet that has readings as CSV")
