"""How the threads of a process wait for each other."""

import os

SPINS = 10_000
"""How often a thread looks whether the others are done before it sleeps: some tens of microseconds."""


def sleep_soon() -> None:
    """Have threads of torch that wait for others sleep soon; only what is imported after this heeds it.

    At the end of each step that threads share, GNU's OpenMP spins for milliseconds by default. If other processes use
    the cores, a step then waits for a thread that waits for a core that another thread spins on: with two cores and one
    other busy process, a training took 2.7 times as long, and a single image nine times, while nothing is lost where
    nobody else is at work. Who has said how to wait is obeyed.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)
