"""Predictions as they come, and as a table."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from adcli._showing import count, introduce
from adcli.scoring.prediction import Prediction
from adcli.scoring.verdict import VerdictRecord
from adcli.scoring.verdict_frame import frame_records

if TYPE_CHECKING:
    from pandas import DataFrame


class Predictions(Iterator[Prediction]):
    """Gives predictions one at a time, as they are scored, or all of them as a table.

    What :func:`predict` returns is one. Of predictions that you kept, ``Predictions(kept).to_pandas()`` is the table.

    Args:
        predictions: any predictions; they are taken when they are asked for.
        source: what scores them, for those who look at it.

    Attributes:
        taken: how many were given so far.
    """

    def __init__(self, predictions: Iterable[Prediction], source: object = "") -> None:
        self.taken = 0
        self._source = source
        self._predictions = iter(predictions)

    def __next__(self) -> Prediction:
        prediction = next(self._predictions)
        self.taken += 1
        return prediction

    def __repr__(self) -> str:
        return introduce(self, self._source, f"{count(self.taken, 'prediction')} taken so far")

    def to_pandas(self) -> "DataFrame":
        """Take all predictions and return a row for each, as in ``predictions.csv``; none is kept.

        Raises:
            ValueError: some were taken before, which the table would lack.
            PluginError: pandas is not installed.
        """
        if self.taken:
            raise ValueError(
                f"{self.taken} were taken before, and the table would lack them: ask for new ones, or keep them in a "
                "list and call Predictions(list).to_pandas()"
            )
        return frame_records((VerdictRecord.of(each, picture=str(each.picture or "")), {}) for each in self)

    def close(self) -> None:
        """Score no more, and end the threads that read ahead."""
        close = getattr(self._predictions, "close", None)
        if close is not None:
            close()
