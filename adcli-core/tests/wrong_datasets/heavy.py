"""An entry-point module that imports numpy to describe its data set."""

import numpy as np

from adcli import DatasetSpec
from wrong_datasets import PlainOptions


class HeavyOptions(PlainOptions):
    """Options of a module that needs numpy for nothing."""


SEED = int(np.int64(7))

HEAVY = DatasetSpec(
    name="heavy",
    target="wrong_datasets.readers:right",
    options=HeavyOptions,
    summary="a test data set",
    categories=("bolt", "nut"),
)
