"""An entry-point module that imports torch to describe its model."""

import torch

from adcli import ModelSpec, Options, option


class HeavyOptions(Options):
    """Options whose default needs torch."""

    threads: int = option(torch.get_num_threads(), "Threads.", ge=1)
    grid: int = option(4, "Pixels that are averaged, in each direction.", ge=1)


HEAVY = ModelSpec(
    name="heavy", target="wrong_models.models:Heavy", options=HeavyOptions, summary="a test model", one_pass=True
)
