"""The section `[files]` of a sensor contract: how a file of readings is read."""

import codecs
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, NonNegativeInt, model_validator

from breezeway.contract.schema import Section, Thousands
from breezeway.contract.time_formats import ISO, TimeFormat, ZoneName

NULL_WORDS = frozenset(
    {"", "-", "--", "#n/a", "<na>", "n/a", "n.a.", "na", "nan", "nil", "none", "null"}
)
"""What no field takes for a value, in small letters, unless a category is called so."""


def _encoding(text: str) -> str:
    try:
        "".encode(text)  # refuses what encodes no text, such as rot13
        name = codecs.lookup(text).name
    except (LookupError, ValueError):
        raise ValueError(
            f"{text[:40]!r} is no encoding: expected one such as utf-8, latin-1, cp1252 or utf-16"
        ) from None
    if name == "idna" or name == "punycode" or "escape" in name:
        raise ValueError(f"{text[:40]!r} is no encoding of files")
    return name


def _words(values: Any) -> Any:
    """Words; a number stands for what a file writes."""
    if not isinstance(values, list):
        return values
    return [str(v) if type(v) in (int, float) else v for v in values]


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


Name = Annotated[str, Field(min_length=1, max_length=1000)]
Words = Annotated[tuple[Annotated[str, Field(max_length=1000)], ...], BeforeValidator(_words)]
BLANKS = "blanks"
SkipWord = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\s,;|\"]([^\r\n]*\S)?$")]
Separator = Annotated[str, Field(pattern=rf'^([^"\r\n\x00]{{1,4}}|{BLANKS})$')]
Mark = Annotated[str, Field(pattern=r"^[\x01-\x09\x0b\x0c\x0e-\x7f]?$")]


class Files(Section):
    """How the rows of a file become readings; without this section, as the defaults say.

    A row is a reading, with its payload in one column or each field in a column of its own; or,
    with `tag_column`, a row is the value of one field.
    """

    format: Literal["csv", "jsonl", "parquet"] | None = None
    """Without, by the file's name: .parquet, .jsonl, .ndjson or .json; CSV is any other that does
    not begin as JSON or Parquet."""
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"
    """A byte order mark before UTF-8 or UTF-16 needs no setting."""
    separator: Separator = ","
    """Between two columns; up to four characters, or `blanks` for any number of blanks and tabs."""
    quote: Mark = '"'
    """Around a value that holds a separator; twice for itself. Empty: there are none."""
    decimal: Literal[".", ","] = "."
    """The decimal mark of numbers."""
    thousands: Thousands = None
    """The mark between groups of three digits of numbers."""
    skip_rows: Annotated[NonNegativeInt, Field(le=10_000)] = 0
    """Lines before the header."""
    names: tuple[Annotated[str, Field(max_length=1000)], ...] = ()
    """Of the columns, in a file without a header."""
    units_row: bool = False
    """Whether a row of units follows the header."""
    comment: Mark = ""
    """Lines that begin with this character are left out."""
    skip_words: Annotated[tuple[SkipWord, ...], Field(max_length=100)] = ()
    """Lines below the header that begin with one of these words, in upper or lower case, are left
    out, such as totals."""
    short_rows: bool = False
    """Whether a row may end early; the columns behind its end are empty then."""
    device: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """Of all rows; `{file}` stands for the file's name without its ending, `{folder}` for its
    folder's."""
    device_column: Name = "device"
    """The column of the device's name."""
    time_column: Name | tuple[Name, Name] = "time"
    """The column of the time, or the two of the date and the time of day."""
    time_format: TimeFormat = ISO
    """A pattern, `iso`, `excel` (days of Excel's 1900 system), or `epoch s`, `epoch ms`, `epoch us`
    or `epoch ns`."""
    time_zone: ZoneName = "UTC"
    """Of times without an offset from UTC."""
    first_time: Annotated[datetime, AfterValidator(_utc)] | None = None
    """Of the first row, in files without times: a row each `interval_seconds` follows."""
    payload_column: Name | None = None
    """Without, the column `payload` if there is one, else each field has a column."""
    columns: dict[str, Name] = Field(default_factory=dict)
    """Field → its column, or its tag, if that is not the field's name or path."""
    tag_column: Name | None = None
    """The field that a row gives the value of."""
    value_column: Name = "value"
    """The column of the value, beside `tag_column`."""
    null_words: Words = ()
    """Further words for "no value"."""
    label_column: Name | None = None
    """The column of the label."""
    label_required: bool = True
    """Whether a file without `label_column` is refused; else its readings have no label."""
    faults: Words = ()
    """Labels that are faults, in upper or lower case; all others are none, unless `normal` names
    them."""
    normal: Words = ()
    """Labels without a fault; beside them and `faults`, all others are mistakes."""
    normal_files: Words = ()
    """Patterns of folder and file: all readings of these files are without fault."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        given = self.model_fields_set
        timed = {"time_column", "time_format", "time_zone"} & given
        both = {word.casefold() for word in self.faults} & {w.casefold() for w in self.normal}
        marks = [mark for mark in (self.separator, self.comment, self.quote) if mark]
        rest = (self.device or "").replace("{file}", "").replace("{folder}", "")
        for wrong, said in (
            ({"device", "device_column"} <= given, "expected either device or device_column"),
            (set(rest) & set("{}"), "device: only {file} and {folder} may stand in braces"),
            (self.first_time and timed, f"first_time, {'/'.join(sorted(timed))}: expected one"),
            (self.first_time and self.tag_column, "tag_column needs times, not first_time"),
            (
                self.payload_column and (self.columns or self.tag_column),
                "payload_column: no columns or tag_column beside it",
            ),
            ("value_column" in given and not self.tag_column, "value_column needs tag_column"),
            (self.normal and not self.faults, "normal needs faults"),
            (both, f"faults, normal: {min(both, default='')!r} is in both"),
            (
                (self.faults or not self.label_required) and not self.label_column,
                "faults and label_required need label_column",
            ),
            (self.thousands == self.decimal, "thousands and decimal: the same mark"),
            (len(set(marks)) < len(marks), "separator, quote and comment: two are the same"),
        ):
            if wrong:
                raise ValueError(said)
        return self
