"""Files as DuckDB reads them: found, unpacked, and as text in UTF-8 with one kind of line end."""

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from breezeway.contract.files import Files
from breezeway.core.errors import DataError, UsageError
from breezeway.core.files import writing

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
PIECE_BYTES = 1 << 20
MAX_LINE_BYTES = 4 << 20
"""A payload has at most a quarter of it."""
MAX_RATIO = 200
"""Text of sensors is packed to a tenth or a twentieth; a file that unpacks to more than this is
made to fill a disk."""
FREE_BYTES = 64 << 20
"""So much may be unpacked at any ratio: a short file of zeros is no attack."""
MAX_UNPACKED_BYTES = 64 << 30
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
UTF8 = ("utf-8", "utf-8-sig", "ascii")


@dataclass(frozen=True)
class PlainFile:
    """What DuckDB reads in place of a file.

    Attributes:
        file: as the user named it, for messages.
        path: the file, or a copy of it.
        format: csv, jsonl or parquet.
    """

    file: Path
    path: Path
    format: str


def find_files(paths: Sequence[Path], format: str | None) -> list[Path]:
    """The files, and those of the folders whose names end as one of the format's do.

    Raises:
        UsageError: there is no such file, or none in a folder.
    """
    wanted = [suffix for suffix, each in SUFFIXES.items() if format in (None, each)]
    files = []
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise UsageError(f"{path}: there is no such file or folder.")
            files.append(path)
            continue
        found = sorted(
            file
            for file in path.rglob("*")
            if _suffix(file) in wanted and not file.name.startswith(".") and file.is_file()
        )
        if not found:
            raise UsageError(f"{path}: there is no {', '.join(wanted)} file in this folder.")
        files += found
    return files


def _suffix(file: Path) -> str:
    return Path(_without_gz(file)).suffix.lower()


def _without_gz(file: Path) -> str:
    return file.name[:-3] if file.name.lower().endswith(".gz") else file.name


def stem(file: Path) -> str:
    """The file's name without its endings."""
    return Path(_without_gz(file)).stem


def plain_file(file: Path, files: Files, folder: Path) -> PlainFile:
    """The file, or a copy of it in a folder where DuckDB would not read it as the contract says.

    Raises:
        UsageError: it cannot be opened.
        DataError: it is damaged, unpacks to far more than its size, or is no such text.
    """
    format = files.format or SUFFIXES.get(_suffix(file), "csv")
    try:
        with file.open("rb") as source:
            head = source.read(4)
        if format == "parquet":
            return PlainFile(file, file, format)
        is_packed = head.startswith(b"\x1f\x8b")
        copier = _Copier(file, files, is_packed, format == "csv")
        if not copier.is_needed():
            return PlainFile(file, file, format)
        copy = folder / "plain"
        with writing(copy), copy.open("wb") as target:
            for piece in copier.pieces():
                target.write(piece)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DataError(f"{file}: the gzip file is damaged: {error}.") from None
    except OSError as error:
        if error.filename not in (None, str(file)):
            raise
        raise UsageError(f"{file}: {error.strerror}.") from None
    return PlainFile(file, copy, format)


class _Copier:
    """Reads a file in pieces, and knows whether it must be copied."""

    def __init__(self, file: Path, files: Files, is_packed: bool, is_csv: bool):
        self._file = file
        self._files = files
        self._is_packed = is_packed
        self._is_csv = is_csv
        self._quote = files.quote.encode()
        self._comment = files.comment.encode() if is_csv else b""
        self._encoding = files.encoding
        self._mixed = False

    def is_needed(self) -> bool:
        """Whether DuckDB needs a copy. It tolerates no mixed line ends, and takes a comment for
        the rest of any line."""
        counts = {b"\n": 0, b"\r": 0, b"\r\n": 0}
        last = b""
        for number, piece in enumerate(self._raw()):
            if number == 0:
                self._look_at(piece)
            for end in counts:
                counts[end] += piece.count(end)
            counts[b"\r\n"] += last == b"\r" and piece.startswith(b"\n")
            last = piece[-1:]
        kinds = [counts[b"\r\n"], *(counts[end] - counts[b"\r\n"] for end in (b"\n", b"\r"))]
        self._mixed = self._is_csv and sum(map(bool, kinds)) > 1
        return self._is_packed or self._encoding not in UTF8 or bool(self._comment) or self._mixed

    def _look_at(self, head: bytes) -> None:
        marked = next((e for mark, e in BYTE_ORDER_MARKS.items() if head.startswith(mark)), None)
        if marked:
            self._encoding = marked
        elif b"\0" in head and not self._encoding.startswith(("utf-16", "utf-32")):
            raise DataError(
                f"{self._file}: holds bytes of zero: expected text. If it is UTF-16, say so in the "
                'contract\'s section [files]: encoding = "utf-16-le".'
            )

    def pieces(self) -> Iterator[bytes]:
        pieces = self._decoded() if self._encoding not in UTF8 else self._raw()
        if self._comment:
            pieces = self._without_comments(pieces)
        return _with_one_line_end(pieces, self._quote) if self._mixed else pieces

    def _raw(self) -> Iterator[bytes]:
        if not self._is_packed:
            with self._file.open("rb") as source:
                yield from _read(source)
            return
        packed = self._file.stat().st_size
        size = 0
        with gzip.open(self._file) as unpacked:
            for piece in _read(unpacked):
                size += len(piece)
                if size > min(MAX_UNPACKED_BYTES, max(FREE_BYTES, MAX_RATIO * packed)):
                    raise DataError(
                        f"{self._file}: unpacks to more than {size >> 20} MiB, {packed} bytes as "
                        f"they are: expected up to {MAX_RATIO} times as many. Unpack it by hand if "
                        "it is right."
                    )
                yield piece

    def _decoded(self) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(self._encoding)()
        lines = 1
        try:
            for piece in self._raw():
                text = decoder.decode(piece)
                lines += text.count("\n")
                yield text.encode("utf-8", "surrogatepass")
            yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
        except UnicodeError as error:
            reason = getattr(error, "reason", error)
            raise DataError(
                f"{self._file}, near line {lines}: not {self._encoding} ({reason}). Expected "
                "another encoding in the contract's section [files]."
            ) from None

    def _without_comments(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Lines that are comments become empty ones, so that all others keep their numbers."""
        comment = re.compile(rb"^" + re.escape(self._comment) + rb"[^\r\n]*", re.MULTILINE)
        rest = b""
        for piece in pieces:
            whole, end, rest = (rest + piece).rpartition(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                raise DataError(f"{self._file}: a line is longer than {MAX_LINE_BYTES} bytes.")
            yield comment.sub(b"", whole) + end
        yield comment.sub(b"", rest)


def _read(source: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    while piece := source.read(PIECE_BYTES):
        yield piece


def _with_one_line_end(pieces: Iterator[bytes], quote: bytes) -> Iterator[bytes]:
    """`\\n` where a line ends; in quotes, what a value holds stays."""
    inside = False
    held = b""
    for piece in pieces:
        piece = held + piece
        held = piece[-1:] if piece.endswith(b"\r") else b""
        yield b"".join(_ended(piece.removesuffix(held) if held else piece, quote, inside))
        inside ^= bool(quote) and piece.count(quote) % 2 == 1
    yield b"\n" if held and not inside else held


def _ended(piece: bytes, quote: bytes, inside: bool) -> Iterator[bytes]:
    parts = piece.split(quote) if quote else [piece]
    for number, part in enumerate(parts):
        if number:
            yield quote
        is_quoted = inside ^ (number % 2 == 1)
        yield part if is_quoted else part.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
