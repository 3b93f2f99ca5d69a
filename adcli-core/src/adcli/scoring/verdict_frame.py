"""Verdict records as a DataFrame."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from adcli._frames import NUMBER, TEXT, TIME, WHOLE, to_frame
from adcli.scoring.verdict import COLUMNS, VerdictRecord

if TYPE_CHECKING:
    from pandas import DataFrame

_KINDS = {"time": TIME, "score": NUMBER, "p_value": NUMBER, "threshold": NUMBER, "regions": WHOLE}

RECORD_COLUMNS = {name: _KINDS.get(name, TEXT) for name in COLUMNS if name != "format"}
"""What each column holds, in the order of tables. Of the regions, it is how many there are."""


def frame_records(
    records: Iterable[tuple[VerdictRecord, Mapping[str, Any]]], further: Mapping[str, str] | None = None
) -> "DataFrame":
    """Return records as a DataFrame; raises as :func:`adcli._frames.to_frame`.

    Args:
        records: each with the values of further columns.
        further: what those columns hold.
    """
    rows = ({**vars(record), "regions": len(record.regions), **more} for record, more in records)
    return to_frame(RECORD_COLUMNS | dict(further or {}), rows)
