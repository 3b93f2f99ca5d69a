"""Making one run of a sweep, in whatever process: what is there is left, and what was interrupted is continued."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from adcli._changes import LOCK
from adcli._locking import Lock
from adcli.errors import AdcliError, LackOfMemoryError, RunError, StorageError, is_out_of_memory, locate, refusal
from adcli.pipeline._evaluate import evaluate
from adcli.pipeline._job import Trained
from adcli.pipeline._manage import remove_run
from adcli.pipeline._train import resume, train
from adcli.progress import Progress, Silent
from adcli.runs.metrics import read_metrics
from adcli.runs.run import PARTIAL, RUN_FILE, Run
from adcli.runs.settings import TrainSettings
from adcli.sweeps.tasks import Task, TaskOutcome


class _HeldError(Exception):
    """Another process makes the run."""


def carry_out(task: Task, *, progress: Progress | None = None) -> TaskOutcome:
    """Make a run unless it is there, and return what became of it; nothing that goes wrong with it is raised.

    Args:
        task: which run.
        progress: receives progress and notes.
    """
    start = time.perf_counter()
    outcome = TaskOutcome(task.name, "made", 0.0)
    try:
        with _explaining():
            trained = _make(task, progress or Silent())
            problem = _evaluate(Path(task.out), progress) if trained is None else trained.not_evaluated
        if problem is not None:
            outcome = replace(outcome, problem=problem.format_message(), exit_code=problem.exit_code)
    except _HeldError as error:
        outcome = replace(outcome, state="elsewhere", problem=str(error))
    except AdcliError as error:
        outcome = replace(outcome, state="failed", problem=error.format_message(), exit_code=error.exit_code)
    return replace(outcome, seconds=time.perf_counter() - start)


def _make(task: Task, progress: Progress) -> Trained | None:
    """Make a run; None if it is there."""
    final = Path(task.out)
    partial = final.parent / PARTIAL / final.name
    while not os.path.lexists(final / RUN_FILE):
        _refuse_held(partial, final)
        was_begun = os.path.lexists(partial / RUN_FILE)
        try:
            if was_begun:
                return resume(partial, progress=progress)
            return train(TrainSettings.parse(task.settings), out=final, progress=progress, command=task.command)
        except (RunError, StorageError) as error:
            # Another process may have taken it meanwhile, and may have made it.
            _refuse_held(partial, final)
            if os.path.lexists(final / RUN_FILE):
                return None
            if not (was_begun and isinstance(error, RunError)):
                raise
            progress.note(f"warning: made anew, as it cannot be continued: {error.format_message()}")
            remove_run(partial)
    return None


def _evaluate(final: Path, progress: Progress | None) -> AdcliError | None:
    """Evaluate a run that was there, if that failed when it was made; returns why it fails again."""
    run = Run.open(final)
    if not run.record.get("not_evaluated") or read_metrics(final):
        return None
    try:
        with _explaining():
            evaluate(run, progress=progress)
    except AdcliError as error:
        return error
    return None


def _refuse_held(partial: Path, final: Path) -> None:
    holder = Lock(partial / LOCK, final).find_holder()
    if holder:
        raise _HeldError(f"{holder} is making it")


@contextmanager
def _explaining() -> Iterator[None]:
    """Have what no error of ours is said in a line: one run that fails ends no other."""
    try:
        yield
    except (AdcliError, _HeldError, KeyboardInterrupt):
        raise
    except BaseException as error:  # Plugins may raise anything, even SystemExit.
        if is_out_of_memory(error):
            raise LackOfMemoryError from error
        raise refusal(error) or AdcliError(f"failed unexpectedly ({locate(error, 'adcli')}).") from error
