"""An entry-point module that imports torch to describe its executor."""

import torch

from adcli import ExecutorSpec, Options, option


class HeavyOptions(Options):
    """Options whose default needs torch."""

    threads: int = option(torch.get_num_threads(), "Threads.", ge=1)
    backwards: bool = option(False, "Make the last run first.")


HEAVY = ExecutorSpec(
    name="heavy", target="wrong_executors.executors:execute", options=HeavyOptions, summary="a test executor"
)
