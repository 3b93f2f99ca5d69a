"""What the rules for executors look at: what one does with a few small runs, in a process of its own.

The process has the model of :mod:`adcli.testing._watched`. It prints nothing to stdout itself, as a command does not
while runs are made.
"""

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from adcli._changes import LOCK
from adcli._locking import Lock
from adcli.pipeline import ExecutorRequest, Task, TaskOutcome
from adcli.runs.run import PARTIAL, RUN_FILE
from adcli.specs import load_target
from adcli.testing._watched import BEAT, GO, THREADS, WATCHED

COMMAND = "adcli sweep --out here"
FIRST, FAILING, SECOND, ALONE, SHORT, LONG = "first", "failing", "second", "alone", "short", "long"
TRAINED = "trained"
"""The folder of a run that is made by the command for one."""

RUNS = 6

GRACE = 10.0
"""Seconds within which the outcome of a run that is made has to be there, and what is closed has to have ended."""

_BEGINNING, _QUIET, _LONGEST = 2.0, 1.0, 150.0
"""Seconds that a second run has to begin in, that nobody works for, and that a stage takes at most."""


@dataclass
class Stage:
    """What an executor did with some tasks.

    Attributes:
        outcomes: what it gave, as plain values.
        error: the traceback of what it raised.
        late: whether a run was made long before its outcome came.
        changed: files of runs that were there before and are not as they were.
        left: what went on after the iterator was closed.
    """

    outcomes: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    late: bool = False
    changed: list[str] = field(default_factory=list)
    left: str = ""


def perform(file: str) -> None:
    """Put an executor through all stages, as a file says, and write beside it what was seen."""
    plan = json.loads(Path(file).read_text(encoding="utf-8"))
    stages = _Stages(**plan)
    with contextlib.redirect_stdout(sys.stderr):
        for name in (FIRST, FAILING, ALONE, SHORT):
            stages.let_go(name)
        # Before the others, as it is watched in the same folder as that with which it is compared.
        train_alike(stages.task(FIRST), stages.folder / TRAINED)
        stages.perform()


def train_alike(task: Task, out: Path) -> None:
    """Make a run as ``adcli train`` does."""
    from adcli import pipeline

    pipeline.train(pipeline.TrainSettings.parse(task.settings), out=out, command=task.command)


class _Stages:
    """An executor, its request, and the runs it is to make.

    Args:
        target: of the executor.
        options: module and name of their class.
        values: of the options.
        data: a folder of images.
        folder: for all that is written.
    """

    def __init__(self, target: str, options: Sequence[str], values: Mapping[str, Any], data: str, folder: str) -> None:
        kind = getattr(import_module(options[0]), options[1])
        self.execute = load_target(target)
        self.request = ExecutorRequest(kind.parse(values), RUNS)
        self.data = data
        self.folder = Path(folder)
        self.seen: dict[str, Stage] = {}

    def perform(self) -> None:
        """Go through the stages."""
        several = (FIRST, FAILING, SECOND)
        with self.stage("several") as stage:
            self.have_made(stage, several, FIRST, SECOND)
        before = self.list_files(several)
        with self.stage("again") as stage:
            self.have_made(stage, several)
            after = self.list_files(several)
            stage.changed = [name for name, facts in before.items() if after.get(name) != facts]
        with self.stage("none") as stage:
            self.have_made(stage, ())
        with self.stage("alone") as stage:
            self.have_made(stage, (ALONE,))
        with self.stage("closed") as stage:
            self.close_early(stage)
        self.let_go(LONG)
        self.await_free(LONG)
        with self.stage("continued") as stage:
            self.have_made(stage, (SHORT, LONG))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Stage]:
        """Keep what is seen, and what is raised; end the process if it takes too long."""
        stage = self.seen[name] = Stage()
        timer = threading.Timer(_LONGEST, self.give_up, [stage])
        timer.start()
        try:
            yield stage
        except Exception:
            stage.error = traceback.format_exc()
        finally:
            timer.cancel()
            self.write()

    def give_up(self, stage: Stage) -> None:
        """End with what there is."""
        stage.error = f"TimeoutError: it is not done after {_LONGEST:g} seconds"
        self.write()
        os._exit(0)

    def write(self) -> None:
        """Write what was seen."""
        seen = {name: asdict(stage) for name, stage in self.seen.items()}
        (self.folder / "seen.json").write_text(json.dumps(seen), encoding="utf-8")

    def have_made(self, stage: Stage, names: Sequence[str], first: str = "", waiting: str = "") -> None:
        """Have tasks carried out; what one of them waits for comes with the first outcome."""
        with self.watching(stage, first, waiting) if first else contextlib.nullcontext():
            for outcome in self.execute([self.task(name) for name in names], self.request):
                self.keep(stage, outcome)
                if waiting:
                    self.let_go(waiting)

    def close_early(self, stage: Stage) -> None:
        """Close the iterator after its first outcome, and see what goes on."""
        outcomes = self.execute([self.task(SHORT), self.task(LONG)], self.request)
        with self.watching(stage, SHORT, LONG):
            self.keep(stage, next(outcomes, None))
        beat, lock = self.watch(LONG) / BEAT, self.lock(LONG)
        _await(beat.exists, _BEGINNING)
        getattr(outcomes, "close", lambda: None)()
        if not _await(lambda: _is_quiet(beat), GRACE):
            stage.left = f"'{LONG}' is still being made after {GRACE:g} seconds"
        elif holder := lock.find_holder():
            stage.left = f"{holder} still holds '{LONG}'"

    @contextlib.contextmanager
    def watching(self, stage: Stage, first: str, waiting: str) -> Iterator[None]:
        """Wait for the outcome of a run no longer than it may take, then have the other go on, so that all ends."""
        come = threading.Event()
        thread = threading.Thread(target=self.spur, args=(stage, first, waiting, come), daemon=True)
        thread.start()
        try:
            yield
        finally:
            come.set()
            thread.join()

    def spur(self, stage: Stage, first: str, waiting: str, come: threading.Event) -> None:
        """Have the waiting run go on if the first was made a while ago; or is to be made after it."""
        if _await(lambda: come.is_set() or self.is_made(first) or (self.watch(waiting) / BEAT).exists(), _LONGEST):
            made = _await(lambda: come.is_set() or self.is_made(first), GRACE)
            _await(lambda: come.is_set() or bool(stage.outcomes), GRACE)
            if not (come.is_set() or stage.outcomes):
                stage.late = made
                self.let_go(waiting)

    def keep(self, stage: Stage, outcome: Any) -> None:
        """Keep an outcome; raises TypeError if it is none."""
        if not isinstance(outcome, TaskOutcome):
            raise TypeError(f"it gave {type(outcome).__name__}, expected a TaskOutcome")
        stage.outcomes.append(outcome.to_json())

    def task(self, name: str) -> Task:
        """Return the task of a run."""
        settings = {
            "model": WATCHED,
            "data": f"{self.data}-missing" if name == FAILING else self.data,
            "image_size": "32x32",
            "options": {"watch": str(self.watch(name))},
            "device": "cpu",
        }
        return Task(name, str(self.out(name)), settings, COMMAND)

    def out(self, name: str) -> Path:
        """Return the folder of a run."""
        return self.folder / "runs" / name

    def watch(self, name: str) -> Path:
        """Return the folder that a run is watched in."""
        folder = self.folder / "watch" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def let_go(self, name: str) -> None:
        """Have a run wait for nothing."""
        (self.watch(name) / GO).touch()

    def is_made(self, name: str) -> bool:
        """Tell whether a run is there."""
        return (self.out(name) / RUN_FILE).exists()

    def lock(self, name: str) -> Lock:
        """Return the lock of whoever makes a run."""
        return Lock(self.out(name).parent / PARTIAL / name / LOCK, self.out(name))

    def await_free(self, name: str) -> None:
        """Wait a while until nobody makes a run."""
        _await(lambda: not self.lock(name).find_holder(), GRACE)

    def list_files(self, names: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return when each file of runs was written, and which file it is."""
        files = [path for name in names for path in self.out(name).rglob("*") if path.is_file()]
        found = [(path, path.stat()) for path in files]
        return {str(path.relative_to(self.folder)): (stat.st_mtime_ns, stat.st_ino) for path, stat in found}


def read_threads(folder: Path, name: str) -> int:
    """Return how many threads a run had."""
    return int((folder / "watch" / name / THREADS).read_text(encoding="utf-8"))


def _is_quiet(beat: Path) -> bool:
    """Tell whether nobody works for a while."""
    before = _read(beat)
    time.sleep(_QUIET)
    return _read(beat) == before


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _await(holds: Any, seconds: float) -> bool:
    """Wait until something holds; returns whether it does."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
