"""Files as DuckDB reads them: found, unpacked, and as text in UTF-8 with one kind of line end."""

import codecs
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from gzip import BadGzipFile
from lzma import LZMAError
from pathlib import Path

from breezeway.contract.files import BLANKS, Files
from breezeway.core.errors import DataError, UsageError
from breezeway.core.files import writing
from breezeway.readings.file_kinds import (
    GZIP,
    HEAD_BYTES,
    JSON,
    PARQUET,
    ZIP,
    Reader,
    name_of_content,
    opened,
    refuse_kind,
)

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
DAMAGED = (BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError, LZMAError)
UTF8 = ("utf-8", "utf-8-sig", "ascii")


@dataclass(frozen=True)
class PlainFile:
    """What DuckDB reads in place of a file.

    Attributes:
        file: as the user named it, for messages.
        path: the file, or a copy of it.
        format: csv, jsonl or parquet.
        separator: between two columns of text.
    """

    file: Path
    path: Path
    format: str
    separator: str = ","


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
    return Path(_without_packer(file)).suffix.lower()


def _without_packer(file: Path) -> str:
    return file.stem if file.suffix.lower() in (".gz", ".zip") else file.name


def stem(file: Path) -> str:
    """The file's name without its endings."""
    return Path(_without_packer(file)).stem


def plain_file(file: Path, files: Files, folder: Path) -> PlainFile:
    """The file, or a copy of it in a folder where DuckDB would not read it as the contract says.

    Raises:
        UsageError: it cannot be opened.
        DataError: it is damaged, unpacks to far more than its size, or is no such text.
    """
    separator = "\t" if files.separator == BLANKS else files.separator
    try:
        with file.open("rb") as source:
            head = source.read(HEAD_BYTES)
        name = Path(name_of_content(file, head))
        format = files.format or SUFFIXES.get(_suffix(name)) or _format_of(head)
        if format == "parquet" and not head.startswith((GZIP, *ZIP)):
            return PlainFile(file, file, format)
        copier = _Copier(file, files, head, format)
        if not copier.is_needed():
            return PlainFile(file, file, format, separator)
        copy = folder / "plain"
        with writing(copy), copy.open("wb") as target:
            for piece in copier.pieces():
                target.write(piece)
    except DAMAGED as error:
        raise DataError(f"{file}: the packed file is damaged: {error}.") from None
    except NotImplementedError as error:
        # So `zipfile` says that it cannot unpack, such as what Windows packs of 2 GB and more.
        raise DataError(
            f"{file}: the zip file is packed in a way that cannot be read ({error}). Unpack it, "
            "and name the file in it. Nothing was loaded."
        ) from None
    except OSError as error:
        if error.filename not in (None, str(file)):
            raise
        raise UsageError(f"{file}: {error.strerror or error}.") from None
    return PlainFile(file, copy, format, separator)


def _format_of(head: bytes) -> str:
    """The format of a file whose name does not tell."""
    if head.startswith(PARQUET):
        return "parquet"
    return "jsonl" if JSON.match(head) else "csv"


class _Copier:
    """Reads a file in pieces, and knows whether it must be copied."""

    def __init__(self, file: Path, files: Files, head: bytes, format: str):
        self._file = file
        self._head = head
        self._is_packed = head.startswith((GZIP, *ZIP))
        self._is_text, is_csv = format != "parquet", format == "csv"
        self._is_csv = is_csv
        self._quote = files.quote.encode()
        self._left_out = LeftOut(files) if is_csv and (files.comment or files.skip_words) else None
        self._has_blanks = is_csv and files.separator == BLANKS
        self._encoding = files.encoding if self._is_text else UTF8[0]
        self._mixed = False

    def is_needed(self) -> bool:
        """Whether DuckDB needs a copy. It tolerates no mixed line ends, and takes a comment for
        the rest of any line."""
        counts = {b"\n": 0, b"\r": 0, b"\r\n": 0}
        last = b""
        for number, piece in enumerate(self._raw()):
            if number == 0 and self._is_text:
                self._look_at(piece)
            for end in counts:
                counts[end] += piece.count(end)
            counts[b"\r\n"] += last == b"\r" and piece.startswith(b"\n")
            last = piece[-1:]
        kinds = [counts[b"\r\n"], *(counts[end] - counts[b"\r\n"] for end in (b"\n", b"\r"))]
        self._mixed = self._is_csv and sum(map(bool, kinds)) > 1
        is_changed = self._left_out is not None or self._has_blanks or self._mixed
        return self._is_packed or self._encoding not in UTF8 or is_changed

    def _look_at(self, head: bytes) -> None:
        refuse_kind(self._file, head[:HEAD_BYTES], is_table=self._is_csv)
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
        if self._left_out:
            pieces = self._left_out.without(_whole_lines(self._file, pieces))
        if self._mixed:
            pieces = _with_one_line_end(pieces, self._quote)
        if self._has_blanks:
            pieces = _with_tabs(_whole_lines(self._file, pieces), self._quote)
        return pieces

    def _raw(self) -> Iterator[bytes]:
        packed = self._file.stat().st_size
        size = 0
        with opened(self._file, self._head) as source:
            for piece in _read(source):
                size += len(piece)
                limit = min(MAX_UNPACKED_BYTES, max(FREE_BYTES, MAX_RATIO * packed))
                if self._is_packed and size > limit:
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


class LeftOut:
    """Lines that are comments or no readings become empty ones, so that all others keep their
    numbers."""

    def __init__(self, files: Files):
        begin = rb"(?:\A|(?<=[\r\n]))"
        comment = re.escape(files.comment.encode()) if files.comment else b"(?!)"
        self._comment = re.compile(begin + comment + rb"[^\r\n]*")
        mark = "" if files.separator == BLANKS else files.separator
        before = re.escape(f" \t{mark}{files.quote}".encode())
        words = b"|".join(map(_word, files.skip_words)) or b"(?!)"
        self._word = re.compile(begin + b"[" + before + b"]*(?:" + words + rb")[^\r\n]*", re.I)
        self._skip_rows, self._has_header = files.skip_rows, not files.names

    def without(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Pieces of whole lines, without what is left out."""
        above, has_header = self._skip_rows, self._has_header
        for piece in pieces:
            piece = self._comment.sub(b"", piece)
            begin = 0
            while (above or has_header) and (line := _LINE.match(piece, begin)):
                begin = line.end()
                if above:
                    above -= 1
                elif line[1] and b"sep=" not in line[1][:8]:
                    has_header = False
            yield piece[:begin] + self._word.sub(b"", piece[begin:])


_LINE = re.compile(rb"([^\r\n]*)(\r\n|[\r\n])")


def _word(word: str) -> bytes:
    """The pattern of a word that stands alone, in upper or lower case."""
    forms = {form.encode() for form in (word, word.lower(), word.upper(), word.capitalize())}
    alone = rb"(?![\w.\x80-\xff-])" if word[-1].isalnum() else b""
    return b"(?:" + b"|".join(map(re.escape, sorted(forms))) + b")" + alone


def _read(source: Reader) -> Iterator[bytes]:
    while piece := source.read(PIECE_BYTES):
        yield piece


def _whole_lines(file: Path, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Pieces that each end where a line does.

    Raises:
        DataError: a line is too long.
    """
    rest = b""
    for piece in pieces:
        piece = rest + piece
        end = max(piece.rfind(b"\n"), piece.rfind(b"\r", 0, -1)) + 1  # `\n` may follow the last one
        whole, rest = piece[:end], piece[end:]
        if len(rest) > MAX_LINE_BYTES:
            raise DataError(f"{file}: a line is longer than {MAX_LINE_BYTES} bytes.")
        yield whole
    yield rest


def _with_tabs(pieces: Iterator[bytes], quote: bytes) -> Iterator[bytes]:
    """A tab in place of the blanks between two columns; no blanks around a line."""
    around = re.compile(rb"(?:\A|(?<=[\r\n]))[ \t]+|[ \t]+(?=[\r\n]|\Z)")
    between = re.compile(rb"[ \t]+")
    mark = re.escape(quote)
    in_quotes = re.compile(mark + b"[^\r\n" + mark + b"]*" + mark + rb"|[ \t]+")
    for piece in pieces:
        piece = around.sub(b"", piece)
        if quote and quote in piece:
            yield in_quotes.sub(lambda m: m[0] if m[0].startswith(quote) else b"\t", piece)
        else:
            yield between.sub(b"\t", piece)


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
