"""Tables as DataFrames of pandas, which nothing else needs: it is imported when a table is asked for."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from adcli._commands import install_command
from adcli._spelling import spell
from adcli.errors import PluginError

if TYPE_CHECKING:
    from pandas import DataFrame

TEXT, NUMBER, WHOLE, FLAG, TIME = "string", "float64", "int64", "bool", "datetime64[ns, UTC]"
"""What a column holds. What is missing is an empty text, or a number that is NaN."""


def to_frame(columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]]) -> "DataFrame":
    """Return rows as a DataFrame; times are texts in ISO 8601.

    Args:
        columns: what each holds, in order.
        rows: a value for each column.

    Raises:
        PluginError: pandas is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as error:
        if error.name != "pandas":
            raise
        raise PluginError(f"this needs the package 'pandas': {install_command('pandas')}") from None
    listed = list(rows)
    return pandas.DataFrame(
        {name: _column(pandas, kind, [row[name] for row in listed]) for name, kind in columns.items()}
    )


def _column(pandas: Any, kind: str, values: list[Any]) -> Any:
    if kind == TIME:
        return pandas.to_datetime(pandas.Series(values, dtype="object"), utc=True, format="ISO8601").astype(TIME)
    if kind == TEXT:
        # Names of bytes are spelled as in tables: no column of texts holds them.
        values = ["" if value is None else spell(str(value)) for value in values]
    return pandas.Series(values, dtype=kind)
