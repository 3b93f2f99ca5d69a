"""``adcli verify``."""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from adcli._files import exists
from adcli.cli.console import ConsoleProgress, Pipeline, load_pipeline, print_fact, relative, voice
from adcli.cli.flags import (
    OPENED,
    Command,
    Folder,
    drop_missing,
    flag,
    json_flag,
    megapixels_flag,
    operand,
    settings,
    spell,
)
from adcli.errors import DIFFERENCE_FOUND, AdcliError, DataError, OptionError, one_line

if TYPE_CHECKING:
    from adcli.pipeline import Verification

_NAMED = 5
"""Images that a line names, at most."""


def _read_tolerance(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise OptionError(f"must be a number of at least 0, not '{value}'.", option=spell(ctx, parameter))
    return number


@click.command(cls=Command)
@operand(
    "runs",
    f"{OPENED} Any number, such as exports/*; an export needs no torch.",
    complete="runs",
    nargs=-1,
    required=True,
    metavar="RUN...",
)
@flag(
    "--data",
    type=Folder(),
    required=True,
    section="Data",
    metavar="DIR",
    complete="folders",
    help="Master images: a folder for each RUN by its name, or images for all.",
)
@flag("--record", is_flag=True, section="Data", help="Write down what is said of them now, to compare with later.")
@flag("--force", is_flag=True, section="Data", help="Record again what is recorded already.")
@flag("--name", section="Data", metavar="NAME", help="Whose masters to take, if not those of RUN itself.")
@flag(
    "--tolerance",
    callback=_read_tolerance,
    metavar="X",
    help="How far a score may move, as a share of the range of good scores (0.001).",
)
@settings("batch_size", "device", "workers")
@megapixels_flag
@json_flag
@click.pass_context
def verify(
    ctx: click.Context,
    /,
    runs: tuple[str, ...],
    data: Path,
    record: bool,
    force: bool,
    name: str | None,
    tolerance: float | None,
    as_json: bool,
    **computing: Any,
) -> None:
    """Check with master images that verdicts and scores are what they were.

    After an upgrade, on a new machine, or with a new calibration: lists each verdict that changed, the largest
    difference of scores, and what else is different. Exits with code 3 if a verdict changed or a score moved beyond
    --tolerance, else with 4 if a master image is missing or was changed.

    \b
    Examples:
      adcli verify exports/* --data masters --record
      adcli verify exports/* --data masters
    """
    if force and not record:
        raise OptionError("goes with --record.", option="--force")
    if record and tolerance is not None:
        raise OptionError("is for comparing, and --record only writes down.", option="--tolerance")
    if name is not None and len(runs) > 1:
        raise OptionError("is for one RUN; give that alone.", option="--name")
    if record:
        _check_names(runs)
    comparing = drop_missing({"tolerance": tolerance})
    asked = _Asked(data, name, {"force": force} if record else comparing, drop_missing(computing))
    pipeline, progress = load_pipeline(), ConsoleProgress()
    answers = _Answers(as_json, record, progress)
    for run in runs:
        try:
            _answer(pipeline, run, asked, answers)
        except AdcliError as error:
            if len(runs) == 1:
                raise
            answers.take_failure(run, error)
    answers.end()
    if answers.counts["changed"] + answers.counts["moved"]:
        ctx.exit(DIFFERENCE_FOUND)
    answers.check()


def _check_names(runs: Sequence[str]) -> None:
    """Refuse to record two under one name, so that the second would replace the first."""
    named = Counter(_name(Path(os.path.realpath(run))) for run in runs)
    name, count = named.most_common(1)[0]
    if count > 1:
        raise OptionError(f"two RUNs are called '{one_line(name)}'; record each alone, with --name.", option="--record")


def _name(path: Path) -> str:
    """Return the name of a run or an export among the masters, as the pipeline has it."""
    from adcli.runs.run import EXPORTS, RUN_FILE

    run = path.parent.parent
    is_in_run = path.parent.name == EXPORTS and exists(run / RUN_FILE)
    return f"{run.name}.{path.name}" if is_in_run else path.name


class _Asked(NamedTuple):
    """What is asked of each run.

    Attributes:
        data: the folder of masters.
        name: whose masters; its own when None.
        options: of recording or comparing.
        computing: device, batch size and threads.
    """

    data: Path
    name: str | None
    options: Mapping[str, Any]
    computing: Mapping[str, Any]


def _answer(pipeline: Pipeline, run: str, asked: _Asked, answers: "_Answers") -> None:
    """Record or verify one run or export; its model goes when this returns."""
    opened = pipeline.find(run, progress=answers.progress)
    scorer = pipeline.open_scorer(opened, **asked.computing)
    act = pipeline.record_masters if answers.record else pipeline.verify
    found = act(opened, asked.data, name=asked.name, scorer=scorer, progress=answers.progress, **asked.options)
    if answers.record:
        answers.take_record(opened.path, found)
    else:
        answers.take(opened.path, found)


class _Answers:
    """Prints what was found of each run, and counts.

    Args:
        as_json: print one JSON document: a list.
        record: whether masters are recorded.
        progress: receives notes.

    Attributes:
        counts: of runs, by what became of them.
    """

    def __init__(self, as_json: bool, record: bool, progress: ConsoleProgress) -> None:
        self.as_json, self.record, self.progress = as_json, record, progress
        self.counts = Counter[str]()
        self._versions = Counter[str]()
        self._incomplete = ""
        self._failure: AdcliError | None = None

    def take_record(self, path: Path, file: Path) -> None:
        """Say that masters were recorded."""
        self.counts["recorded"] += 1
        if self.as_json:
            self._print_json({"run": str(path), "state": "recorded", "file": str(file)})
        elif voice() != "quiet":
            print_fact("recorded", f"{relative(path)}: {relative(file)}")

    def take(self, path: Path, found: "Verification") -> None:
        """Say what became of the verdicts and scores of one."""
        state = "changed" if found.changed else "moved" if found.moved else "equal"
        self.counts[state] += 1
        self._versions.update(map(_describe, found.versions))
        if not found.is_complete and not self._incomplete:
            self._incomplete = f"{path}: {_enumerate([*found.missing, *found.altered])}"
        self.counts["incomplete"] += not found.is_complete
        if self.as_json:
            self._print_json({"run": str(path), "state": state, **found.to_dict()})
            return
        lines = list(_explain(found))
        if lines or state != "equal" or voice() != "quiet":
            print_fact(state, f"{relative(path)}: {_summarise(found)}")
        for line in lines:
            print_fact("", line)

    def take_failure(self, run: str, error: AdcliError) -> None:
        """Say that one could not be looked at, and go on."""
        self.counts["failed"] += 1
        self._failure = self._failure or error
        if self.as_json:
            failure = {"problem": error.format_message(), "exit_code": error.exit_code}
            self._print_json({"run": run, "state": "failed", **failure})
        else:
            print_fact("failed", f"{run}: {one_line(error)}")

    def _print_json(self, content: dict[str, Any]) -> None:
        click.echo(("[\n" if self._total == 1 else ",\n") + indent(json.dumps(content, indent=2), "  "), nl=False)

    @property
    def _total(self) -> int:
        return sum(count for state, count in self.counts.items() if state != "incomplete")

    def end(self) -> None:
        """Say what all have in common."""
        if self.as_json:
            click.echo("\n]")
            return
        for line, count in self._versions.items():
            # Nobody who sees only what is not equal needs to know what is not the reason.
            if voice() != "quiet" or self.counts["changed"] + self.counts["moved"]:
                print_fact("versions", line + (f" ({count} of {self._total})" if self._total > 1 else ""))
        if self._total > 1:
            counted = (f"{count} {state}" for state, count in self.counts.items() if count)
            self.progress.note(f"{self._total} in all: {', '.join(counted)}")

    def check(self) -> None:
        """Fail if one could not be looked at, or master images could not be compared.

        Raises:
            AdcliError: with the exit code of the first.
        """
        if self._failure is not None:
            error = AdcliError(f"{self.counts['failed']} of {self._total} failed: {one_line(self._failure)}")
            error.exit_code = self._failure.exit_code  # type: ignore[misc]
            raise error
        if self.counts["incomplete"]:
            raise DataError(f"{self._incomplete} could not be compared; bring them back, or record the masters again.")


def _summarise(found: "Verification") -> str:
    """Return in a line how much was compared, and how far scores are from what they were."""
    images = f"{found.images} image{'' if found.images == 1 else 's'}"
    verdicts = f", {len(found.changed)} with another verdict" if found.changed else ""
    largest = found.largest
    if largest is None:
        return images + verdicts
    if largest.difference == 0:
        return f"{images}{verdicts}, scores as recorded"
    of_zone = f" in zone {largest.zone}" if largest.zone else ""
    place = f" ({largest.image}{of_zone})" if found.changed or found.moved else ""
    beyond = f", {len(found.moved)} by more than {found.tolerance:g}" if found.moved else ""
    return (
        f"{images}{verdicts}, scores differ by at most {largest.relative:.2g} of the range of good ones{place}{beyond}"
    )


def _explain(found: "Verification") -> Iterator[str]:
    """Yield a line for each verdict that changed, and for all else that is not as it was."""
    for one in found.changed:
        scores = [f"{score:.6g}" for score in (one.score_before, one.score) if score is not None]
        why = one.problem or f"score {' -> '.join(dict.fromkeys(scores))}"
        yield f"{one.image}: {one.before} -> {one.now} ({why})"
    largest = found.largest
    if not found.is_equal and largest and largest.difference and largest.to_threshold is not None:
        yield f"largest: {largest.difference:.4g}; {largest.image} was {largest.to_threshold:.4g} from the threshold"
    yield from map(_describe, found.differences)
    for what, names in (("missing", found.missing), ("altered", found.altered), ("not recorded", found.extra)):
        if names:
            yield f"{what}: {_enumerate(names)}"


def _describe(difference: Any) -> str:
    """Return what is another in a line; digests are cut."""
    before, now = map(_show, (difference.before, difference.now))
    if before == now:
        before, now = map(repr, (difference.before, difference.now))
    return f"{difference.what}: {before} -> {now}"


def _show(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return one_line(f"{value[:12]}..." if re.fullmatch("[0-9a-f]{64}", value) else value)
    return one_line(json.dumps(value))


def _enumerate(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(one_line, names[:_NAMED])) + more
