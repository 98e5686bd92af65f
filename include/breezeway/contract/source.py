"""The section `[source]` of a sensor contract: readings in a database of the user's own."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from breezeway.contract.schema import Section
from breezeway.contract.time_formats import EPOCHS, ISO, TimeFormat, ZoneName

EVERYTHING = "SELECT * FROM source"
"""The query of all readings: in a query `source` stands for what the section names."""


def _iso_or_epoch(text: str) -> str:
    if text != ISO and text not in EPOCHS:
        raise ValueError(
            f"{text[:60]!r}: expected {ISO!r} or {', '.join(map(repr, EPOCHS))}; other text the "
            "query has to make a time of, such as by STR_TO_DATE or TO_TIMESTAMP"
        )
    return text


def _one_or_two_names(text: str) -> str:
    if text.count(".") > 1 or not all(text.split(".")):
        raise ValueError(f"{text[:60]!r}: expected 'table' or 'schema.table'")
    return text


Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]+$")]
Table = Annotated[Name, AfterValidator(_one_or_two_names)]
DatabaseTime = Annotated[TimeFormat, AfterValidator(_iso_or_epoch)]


class Source(Section):
    """Readings in a table, a view or a query of your own database, which is only read. Without this
    section they are in the table `readings`."""

    table: Table | None = None
    """The table or view: `table` or `schema.table`."""
    query: Annotated[str, Field(max_length=100_000, pattern=r"^[^\x00]+$")] | None = None
    """In its place, one SELECT that gives the columns."""
    device: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """The device of all readings, if no column holds it."""
    device_column: Name = "device"
    """The column of the device's name."""
    time_column: Name = "time"
    """The column of the time; with an index, a day is found fast."""
    time_format: DatabaseTime = ISO
    """`iso` for times of the database and for ISO text; or `epoch s`, `epoch ms`, `epoch us` or
    `epoch ns` for numbers since 1970."""
    time_zone: ZoneName = "UTC"
    """Of times that have no zone."""
    id_column: Name | None = None
    """A column of whole numbers, greater for a reading that arrived later."""
    payload_column: Name | None = None
    """The column of the payload; `payload`, if there are no `columns` either."""
    columns: dict[str, Name] | None = None
    """Field → its column, where each field has one. A field that is not named here has one of its
    own name."""
    label_column: Name | None = None
    """The column of the label, if it is not called as `label.column` says."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        given = self.model_fields_set
        for wrong, said in (
            ((self.table is None) == (self.query is None), "expected either table or query"),
            ({"device", "device_column"} <= given, "expected either device or device_column"),
            (
                self.payload_column and self.columns is not None,
                "expected either payload_column or columns",
            ),
            (
                self.time_format != ISO and self.time_zone != "UTC",
                "time_zone: numbers since 1970 are in UTC",
            ),
        ):
            if wrong:
                raise ValueError(said)
        return self
