"""The rules for executors. A rule is a function whose docstring says what it promises."""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adcli._plugins.registry import Plugin, Provided, registry
from adcli.runs.run import Run
from adcli.specs import ExecutorSpec, load_target
from adcli.testing._executing import (
    ALONE,
    FAILING,
    FIRST,
    GRACE,
    LONG,
    SECOND,
    SHORT,
    TRAINED,
    Stage,
    read_threads,
)
from adcli.testing._failures import UnmetError, from_process, made_once
from adcli.testing._places import declared, packages
from adcli.testing._watched import install_watched
from adcli.testing.assertions import assert_described_lightly, assert_documented, run_python

_PERFORM = "import sys; from adcli.testing._executing import perform; perform(sys.argv[1])"

_SIZE = (32, 32)


class Subject:
    """An executor under test, and what it did with a few runs, which is looked at by most rules."""

    def __init__(self, provided: Provided[ExecutorSpec], options: Mapping[str, Any]) -> None:
        self.provided = provided
        self.options = options
        self.spec = provided.spec
        # Lives as long as the subject; removed when the process ends.
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name)

    @made_once
    def printed(self) -> str:
        """Put the executor through all stages in a process of its own, and return what that printed to stdout."""
        _write_images(self.folder / "images")
        install_watched(self.folder / "site")
        kind = self.spec.options
        plan = {
            "target": self.spec.target,
            "options": (kind.__module__, kind.__qualname__),
            "values": kind.parse(self.options).to_dict(),
            "data": str(self.folder / "images"),
            "folder": str(self.folder),
        }
        file = self.folder / "plan.json"
        file.write_text(json.dumps(plan), encoding="utf-8")
        return run_python(_PERFORM, str(file), path=[str(self.folder / "site")])

    @made_once
    def stages(self) -> Mapping[str, Stage]:
        """What the executor did in each stage."""
        assert self.printed is not None
        seen = json.loads((self.folder / "seen.json").read_text(encoding="utf-8"))
        return {name: Stage(**facts) for name, facts in seen.items()}

    def stage(self, name: str) -> Stage:
        """Return what the executor did in a stage; fails with what it raised there."""
        if name not in self.stages:
            raise UnmetError("the executor did not get as far")
        stage = self.stages[name]
        if stage.error:
            raise from_process(stage.error, 1)
        return stage

    def outcome(self, stage: str, name: str) -> Mapping[str, Any]:
        """Return the first outcome of a task in a stage."""
        outcomes = [outcome for outcome in self.stage(stage).outcomes if outcome["name"] == name]
        if not outcomes:
            raise UnmetError("a task has no outcome")
        return outcomes[0]

    def assert_made(self, stage: str, *names: str) -> None:
        """Check that runs were made in a stage, and lie in the folders of their tasks."""
        for name in names:
            outcome = self.outcome(stage, name)
            found = f"{outcome['state']} ({outcome['problem']})" if outcome["problem"] else outcome["state"]
            assert outcome["state"] == "made", f"'{name}' is {found}, expected made"
            place = self.folder / "runs" / name
            assert place.is_dir(), f"'{name}' is called made, and there is no run in the folder of its task"


def _write_images(folder: Path) -> None:
    from adcli.testing.models import damaged_images, good_images, save_images

    for name, images in (("good", good_images(_SIZE)), ("dent", damaged_images(_SIZE)[:4])):
        (folder / name).mkdir(parents=True)
        save_images(folder / name, images)


def packages_of(subject: Subject) -> set[str]:
    """Return the packages that an executor's code is in."""
    return packages(subject.provided, subject.spec.target)


def looked_at(subject: Subject, rule: str) -> Any:
    """Return the function, or what describes the executor, that a rule is about."""
    if rule in ("describing_imports_nothing_heavy", "options_are_documented_and_valid"):
        return declared(subject.provided)
    return load_target(subject.spec.target)


_subjects: dict[tuple[str, str], Subject] = {}


def subject_of(executor: str | ExecutorSpec, options: Mapping[str, Any] | None = None) -> Subject:
    """Return the subject of an executor's name or spec and its options; the same one each time."""
    named = executor if isinstance(executor, str) else f"{executor.target} {executor.name}"
    key = (named, str(sorted((options or {}).items())))
    if key not in _subjects:
        unknown = Plugin("test", "test", "0")
        provided = registry().executors[executor] if isinstance(executor, str) else Provided(executor, unknown)
        _subjects[key] = Subject(provided, options or {})
    return _subjects[key]


def describing_imports_nothing_heavy(subject: Subject) -> None:
    """Describing the executor imports neither torch nor numpy."""
    assert_described_lightly(subject.provided.plugin, subject.spec.options, ("torch", "numpy"))


def options_are_documented_and_valid(subject: Subject) -> None:
    """Name and summary are given, every option has help, defaults are valid, and the target can be imported."""
    assert_documented(subject.spec)
    subject.spec.options.parse({})
    assert callable(load_target(subject.spec.target)), f"target {subject.spec.target} is no function"


def every_task_has_one_outcome(subject: Subject) -> None:
    """Each task gets exactly one outcome, which has its name."""
    given = Counter(outcome["name"] for outcome in subject.stage("several").outcomes)
    expected = Counter((FIRST, FAILING, SECOND))
    assert given == expected, f"the outcomes are of {_list(given)}, expected one each of {_list(expected)}"


def _list(names: Counter[str]) -> str:
    return ", ".join(map(repr, sorted(names.elements()))) or "nothing"


def runs_are_as_train_makes_them(subject: Subject) -> None:
    """A run lies in its task's folder, with the settings, weights, scores and command that ``adcli train`` gives it."""
    subject.assert_made("several", FIRST)
    found, expected = (_describe(subject.folder / place) for place in (f"runs/{FIRST}", TRAINED))
    for what, value in expected.items():
        assert found[what] == value, f"the {what} of the run is {str(found[what])[:80]}, expected {str(value)[:80]}"


def _describe(folder: Path) -> dict[str, Any]:
    run = Run.open(folder)
    settings = {name: value for name, value in run.settings.items() if name not in ("created", "out", "command")}
    return {
        "command": run.settings["command"],
        "settings": settings,
        "weights": run.record["weights"],
        "good scores": [float(score) for score in run.calibration.image_scores],
    }


def a_failing_run_ends_no_other(subject: Subject) -> None:
    """A run that fails has an outcome with the reason, in a line, and an exit code; the others are made."""
    outcome = subject.outcome("several", FAILING)
    assert outcome["state"] == "failed", f"a run without data is {outcome['state']}, expected failed"
    lines = len(outcome["problem"].strip().splitlines())
    assert lines == 1, f"the reason of a run that failed has {lines} lines, expected one"
    assert outcome["exit_code"] > 0, f"the exit code of a run that failed is {outcome['exit_code']}, expected another"
    subject.assert_made("several", SECOND)


def what_is_there_is_not_made_again(subject: Subject) -> None:
    """If a run is there, its outcome is that it is made, and no file of it is written again."""
    changed = subject.stage("again").changed
    assert not changed, f"{changed[0]} was written again, although the run was there"
    subject.assert_made("again", FIRST)


def no_tasks_have_no_outcomes(subject: Subject) -> None:
    """An empty list of tasks has no outcomes."""
    count = len(subject.stage("none").outcomes)
    assert not count, f"without tasks there are {count} outcomes, expected none"


def an_outcome_comes_when_it_is_known(subject: Subject) -> None:
    """The outcome of a run that is made comes within seconds, also while another run goes on."""
    for stage in ("several", "closed"):
        found = f"{GRACE:g} seconds after a run was made, there was no outcome while another was under way"
        assert not subject.stage(stage).late, f"{found}, expected it at once"


def nothing_depends_on_how_many_are_left(subject: Subject) -> None:
    """A run computes with as many threads alone as beside others of its sweep."""
    subject.assert_made("several", FIRST)
    subject.assert_made("alone", ALONE)
    beside, alone = (read_threads(subject.folder, name) for name in (FIRST, ALONE))
    found = f"a run has {alone} threads alone, and {beside} beside others of the sweep"
    assert beside == alone, f"{found}, expected the same: ask request.runs, not how many tasks there are"


def closing_ends_what_is_under_way(subject: Subject) -> None:
    """If the iterator is closed, runs that are under way end within seconds, and nobody holds their folders."""
    left = subject.stage("closed").left
    assert not left, f"after the iterator is closed, {left}, expected that it ends"


def what_was_closed_is_continued(subject: Subject) -> None:
    """Runs that were not made when the iterator was closed are made when it is given them again."""
    subject.assert_made("continued", SHORT, LONG)


def stdout_is_left_alone(subject: Subject) -> None:
    """Nothing is printed to the command's stdout, nor what models print in other processes."""
    printed = subject.printed.strip()
    assert not printed, f"stdout has {printed[:60]!r}, expected nothing: results are printed there"


_ALL: Sequence[Callable[[Subject], None]] = (
    describing_imports_nothing_heavy,
    options_are_documented_and_valid,
    every_task_has_one_outcome,
    runs_are_as_train_makes_them,
    a_failing_run_ends_no_other,
    what_is_there_is_not_made_again,
    no_tasks_have_no_outcomes,
    an_outcome_comes_when_it_is_known,
    nothing_depends_on_how_many_are_left,
    closing_ends_what_is_under_way,
    what_was_closed_is_continued,
    stdout_is_left_alone,
)

RULES: dict[str, Callable[[Subject], None]] = {rule.__name__: rule for rule in _ALL}
"""Every rule, by name."""
