"""The end of a training: evaluation, record, page, and the run's own name. A failed evaluation costs no run."""

import contextlib
import hashlib
import platform
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from adcli._commands import quote
from adcli._files import seal
from adcli._plugins.registry import registry
from adcli.data.left_out import say
from adcli.errors import AdcliError, LackOfMemoryError, StorageError, is_out_of_memory, one_line
from adcli.pipeline._evaluation_pass import (
    EVALUATIONS,
    METRICS_FILE,
    OWN,
    REPORT_FILE,
    SCORES_FILE,
    Evaluation,
    copy_to_top,
    evaluate_into,
)
from adcli.pipeline._job import BEGAN_WITH, Job, Trained
from adcli.pipeline._run_page import write_report
from adcli.pipeline._seen_images import KnownImages, list_seen
from adcli.progress import Progress
from adcli.runs.find import finishing_time
from adcli.runs.images import IMAGES_FILE, SeenImage, format_images
from adcli.runs.partial import LOG_FILE, PartialRun
from adcli.runs.run import FORMAT, RUN_FILE, Run
from adcli.scoring.part_verdicts import PARTS_FILE
from adcli.scoring.scorer import Scorer


class Laps:
    """Seconds that the parts of a training take."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self.log, self.seconds = log, dict[str, float]()
        self._since = time.perf_counter()

    def end(self, name: str) -> None:
        """Log a part that has ended; the next begins."""
        now = time.perf_counter()
        self.seconds[f"{name}_seconds"] = round(now - self._since, 3)
        self.log(f"{name}: {now - self._since:.1f} s")
        self._since = now


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What a run is finished from, once it is fitted and calibrated.

    Attributes:
        job: what was decided before.
        partial: the run's folder, which holds weights and calibration.
        content: of its ``run.yaml``.
        weights: digest of its weights.
        updating: digest of what updates need; empty if nothing is kept for them.
        scorer: scores with the fitted and calibrated model.
        laps: how long the parts took so far.
        progress: receives progress and notes.
    """

    job: Job
    partial: PartialRun
    content: dict[str, Any]
    weights: str
    updating: str
    scorer: Scorer
    laps: Laps
    progress: Progress

    def finish(self) -> Trained:
        """Evaluate, write what is left to write, and name the run; last of all ``run.yaml`` is written."""
        evaluation, problem = None, None
        if self.job.data.splits.test:
            try:
                evaluation, run = self._evaluate()
            except Exception as error:
                problem = self._give_up(error)
        if evaluation is None:
            self.laps.end("evaluate")
            run = self._describe({} if problem is None else {"not_evaluated": _reason(problem)})
            write_report(self.partial.folder / REPORT_FILE, run, None, self.job.data.name, files=self.partial.folder)
        self.partial.write(RUN_FILE, seal({"format": FORMAT, **self.content, "record": dict(run.record)}))
        finished = conclude(self.partial, self.progress)
        say(self.scorer.source.left_out, self.progress.note, "note")
        return Trained(finished, evaluation, None if problem is None else _say_how_to_go_on(problem, finished))

    def _evaluate(self) -> tuple[Evaluation, Run]:
        folder = self.partial.folder / EVALUATIONS / OWN
        known = KnownImages.of(self._list_seen(), self.scorer.calibration)
        evaluation = evaluate_into(folder, self.scorer, self.job.data.splits.test, self.progress, known)
        self.laps.end("evaluate")
        run = self._describe({})
        write_report(folder / REPORT_FILE, run, evaluation, self.job.data.name, files=self.partial.folder)
        copy_to_top(folder, self.partial.folder)
        return evaluation, run

    def _list_seen(self) -> list[SeenImage]:
        job = self.job
        return [*job.earlier, *list_seen(job.settings, job.plan, job.data.splits.test, job.source.digests)]

    def _give_up(self, error: Exception) -> AdcliError:
        """Remove what an evaluation has written, so that a full disk has room for the rest; return what to say."""
        # Before anything is logged: the disk may be full.
        folder = self.partial.folder / EVALUATIONS / OWN
        for place in (folder, self.partial.folder):
            for name in (METRICS_FILE, SCORES_FILE, PARTS_FILE, REPORT_FILE):
                with contextlib.suppress(OSError):
                    (place / name).unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()
            folder.parent.rmdir()
        problem = _explain(error)
        with contextlib.suppress(StorageError):
            lines = traceback.format_exception(error) if type(problem) is AdcliError else ()
            self.partial.log(f"not evaluated: {_reason(problem)}", *"".join(lines).splitlines())
        return problem

    def _describe(self, more: dict[str, Any]) -> Run:
        """Return the run as it will be, and write which images it saw."""
        job = self.job
        content = format_images(self._list_seen())
        self.partial.write(IMAGES_FILE, content)
        record = {name: value for name, value in job.record.items() if name != BEGAN_WITH} | {
            "weights": self.weights,
            **({"updating": self.updating} if self.updating else {}),
            "images": hashlib.sha256(content).hexdigest(),
            "device": str(job.device),
            "versions": {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
            "timings": dict(self.laps.seconds),
            "finished": finishing_time(self.partial.final.parent),
            **more,
        }
        settings = {name: value for name, value in self.content.items() if name != "record"}
        return Run(self.partial.final, settings, record, self.scorer.calibration)


def conclude(partial: PartialRun, progress: Progress) -> Run:
    """Give a complete run its name, and tell the plugins."""
    run = partial.finish()
    registry().call_each("adcli_run_finished", run=run)
    for line in registry().take_hook_warnings():
        progress.note(line)
    return run


def _explain(error: Exception) -> AdcliError:
    """Return an error of an evaluation as one that has an exit code and says in a line what is wrong."""
    if isinstance(error, AdcliError):
        return error
    if is_out_of_memory(error):
        return LackOfMemoryError()
    if isinstance(error, OSError):
        return StorageError(one_line(str(error)))
    return AdcliError(f"{one_line(error)}, see {LOG_FILE}")


def _reason(problem: AdcliError) -> str:
    return one_line(problem).rstrip(".")


def _say_how_to_go_on(problem: AdcliError, run: Run) -> AdcliError:
    command = quote("adcli", "evaluate", run.path)
    error = AdcliError(f"not evaluated: {_reason(problem)}; go on with: {command}")
    error.exit_code = problem.exit_code  # type: ignore[misc]
    return error
