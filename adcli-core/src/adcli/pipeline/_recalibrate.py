"""Giving a finished run, or an export, another threshold without training; and going back to an earlier one.

Nothing here imports torch.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar

from adcli._changes import changing, inside
from adcli._commands import quote
from adcli._files import read_bytes
from adcli.data.fingerprint import fingerprint
from adcli.data.guarding import digests_of
from adcli.data.left_out import say
from adcli.data.part_rule import PartRule
from adcli.data.source import items_of
from adcli.errors import DataError, OptionError, RunError, one_line
from adcli.exports.export import Export
from adcli.exports.writing import TARGET, format_calibrated
from adcli.pipeline._audit import Drawn, read_drawn
from adcli.pipeline._good_images import GoodImages, read_given
from adcli.pipeline._open import open_scorer
from adcli.pipeline._plan import guard_samples, list_labelled
from adcli.pipeline._threshold_picture import draw_threshold_image
from adcli.progress import Progress, Silent
from adcli.runs.calibrations import (
    KeptCalibration,
    entry_path,
    find_in_force,
    find_previous,
    find_wanted,
    kept_files,
    next_number,
    now,
    read_all,
    read_kept,
)
from adcli.runs.images import fitted_digests, read_images
from adcli.runs.partial import LOG_FILE
from adcli.runs.run import CALIBRATION_FILE, Run
from adcli.runs.settings import FIELDS
from adcli.scoring.audits import Audit
from adcli.scoring.calibration import Calibration
from adcli.scoring.scorer import Scorer, score_joined
from adcli.scoring.thresholds import CalibrationPlan, calibrate, join_validation

UNCHOSEN = "note: images chosen by their score, such as rejects or near misses, void the promise: give all of a day."
"""What is said of images that are given to calibrate."""

_LARGEST_PICTURE, _LARGEST_LOG = 16 << 20, 64 << 20
"""Bytes of files that are copied or continued."""

Calibrated = TypeVar("Calibrated", Run, Export)


@dataclass
class _Found:
    """A calibration to come, what is kept with it, and the digests of validation images that set it."""

    calibration: Calibration
    data: str = ""
    left_out: dict[str, int] = field(default_factory=dict)
    picture: bytes | None = None
    validated: Collection[str] = ()
    audits: Sequence[Audit] = ()


def recalibrate(
    opened: Calibrated,
    data: str | None = None,
    *,
    rate: float | None = None,
    confidence: float | None = None,
    threshold: float | Literal["f1"] | None = None,
    validation: str | Path | None = None,
    audit: str | None = None,
    part: str | None = None,
    views: int | None = None,
    scorer: Scorer | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> Calibrated:
    """Set the thresholds and colours of a run or an export again, and return it with them; its model stays as it is.

    What was in force is kept, and :func:`restore_calibration` goes back to it.

    Args:
        opened: a finished run, or an export.
        data: good images that the model has not seen, as ``--data`` takes them; the scores that there are when None.
        rate: the false-alarm rate; the one there is when None.
        confidence: that the rate is kept with, 0 for on average; the one there is when None.
        threshold: a value, or ``"f1"`` for the one that separates the good images and ``validation`` best.
        validation: a folder with a folder for each kind of defect, and perhaps one ``good``.
        audit: labelled parts that were drawn at random, good and defective: the good ones take the place of ``data``,
            and all of them say how many defective ones are accepted.
        part: a regular expression that finds the part that an image shows, so that the threshold is of parts; what was
            said for the one before when None.
        views: images of a complete part; as many as for the one before when None.
        scorer: of ``opened``, if other than the default device, batch size or threads are wanted.
        progress: receives progress and notes.
        command: the command line, for the record.

    Raises:
        OptionError: nothing is asked for, or a rate or a confidence as well as a threshold, or one of these two without
            scores of good images, or parts without images.
        DataError: no images are left that may set a threshold.
        RunError: another process calibrates it.
    """
    progress = progress or Silent()
    _check_audit(audit, data, threshold)
    images = data if audit is None else audit
    if images is None and (part is not None or views is not None):
        option = "--views" if part is None else "--part"
        raise OptionError("needs --data: only images say which parts they show.", option=option)
    _check_request(opened, images, {"--false-alarm-rate": rate, "--confidence": confidence}, threshold, validation)
    with _changing(opened) as staged:
        before = _find_before(opened, progress)
        load = cache(lambda: scorer or open_scorer(opened))
        rule, asked = _choose_rule(before, part, views), _complete_promise(opened, before, rate, confidence)
        drawn = None if audit is None else _read_drawn(opened, audit, before, threshold, rule, progress)
        if images is not None:
            progress.note(UNCHOSEN)
        if drawn is not None:
            found = _from_images(drawn.given, asked, rule, load(), progress, f"--audit {audit}")
        elif data is not None:
            given = read_given(data, fitted_to(opened), progress, rule)
            found = _from_images(given, asked, rule, load(), progress, f"--data {data}")
        else:
            found = _from_scores(opened, before, rate, confidence)
        if threshold == "f1":
            found = _at_best_f1(opened, found, Path(validation or ""), load(), progress)
        elif threshold is not None:
            found.calibration = found.calibration.with_value(threshold)
        if drawn is not None:
            found.audits = _audit(drawn, before, found.calibration, load(), progress)
        if data is not None or drawn is not None or threshold == "f1":
            say(load().source.left_out, progress.note, "note")
        kept = replace(_keep(opened, found, before, command), tested=_count_tested(opened, found, progress))
        note_doubt(kept, progress)
        _stage(opened, staged, kept, found.picture)
    return type(opened).open(opened.path)


def _find_before(opened: "Run | Export", progress: Progress) -> Calibration | None:
    before, problem = find_in_force(opened.path, _weights(opened))
    if problem:
        progress.note(f"warning: {problem}")
    return before


def restore_calibration(
    opened: Calibrated, number: int | None = None, *, progress: Progress | None = None, command: str = ""
) -> Calibrated:
    """Bring back one of the calibrations that are kept, and return the run or the export with it.

    It is kept once more, as a calibration of its own, so that what was in force can be brought back too.

    Args:
        opened: a finished run, or an export.
        number: of the calibration; when None, the one before the last step that was not taken back yet, or the last one
            kept if ``calibration.json`` cannot be used.
        progress: receives notes.
        command: the command line, for the record.

    Raises:
        RunError: there is none such, it is in force already, or another process calibrates the run.
    """
    root, weights = opened.path, _weights(opened)
    with _changing(opened) as staged:
        previous = find_previous(root, weights) if number is None else find_wanted(root, number, weights)
        before, _ = find_in_force(root, weights)
        kept = replace(
            previous,
            calibration=replace(previous.calibration, number=next_number(root, before)),
            time=now(),
            command=command,
            replaced=before.number if before else None,
            restores=previous.number,
            undoes=number is None,
        )
        note_doubt(kept, progress or Silent())
        picture = inside(root, entry_path(previous.number, ".jpg"))
        _stage(opened, staged, kept, _read(picture, _LARGEST_PICTURE) or None)
    return type(opened).open(root)


def calibrations(opened: Run | Export) -> Sequence[KeptCalibration]:
    """Return every calibration that a run or an export ever had, the first one first; the last one is in force.

    Raises:
        RunError: one of them was changed since it was written.
    """
    return read_all(opened.path)


@contextlib.contextmanager
def _changing(opened: Run | Export) -> Iterator[Path]:
    """Give a folder for all that a calibration changes, to appear in one step, while nobody else calibrates.

    Raises:
        RunError: somebody does, or has put another export in the place of this one.
    """
    target = TARGET if isinstance(opened, Export) else CALIBRATION_FILE
    with changing(opened.path, target) as staged:
        now = type(opened).open(opened.path, repairing=True)
        if _weights(now) != _weights(opened) or _graph_files(now) != _graph_files(opened):
            raise RunError(f"{opened.path}: was replaced a moment ago; give the command again.")
        yield staged


def _graph_files(opened: Run | Export) -> dict[str, str]:
    files = dict(opened.manifest["files"]) if isinstance(opened, Export) else {}
    files.pop(CALIBRATION_FILE, None)
    return files


def _check_request(
    opened: Run | Export,
    data: str | None,
    promised: Mapping[str, float | None],
    threshold: float | Literal["f1"] | None,
    validation: str | Path | None,
) -> None:
    given = [f"{flag} {value:g}" for flag, value in promised.items() if value is not None]
    if data is None and not given and threshold is None:
        raise OptionError(
            "give good images with --data, another --false-alarm-rate or --confidence, or a --threshold; "
            f"'{quote('adcli', 'calibrate', opened.path, '--list')}' lists what there was, and --undo and "
            "--restore bring it back."
        )
    if threshold is not None and given:
        raise OptionError(f"--threshold {threshold} and {given[0]}: each sets the threshold; give one of them.")
    if (threshold == "f1") != (validation is not None):
        raise OptionError("--threshold f1 and --validation DIR belong together; give both or neither.")


def _choose_rule(before: Calibration | None, pattern: str | None, views: int | None) -> PartRule | None:
    """Return how parts are told: as before, but for what is given; None if images are judged by themselves."""
    rule = (before.parts if before else None) or PartRule()
    chosen = PartRule(rule.pattern if pattern is None else pattern, rule.views if views is None else views)
    return None if chosen == PartRule() and (before is None or before.parts is None) else chosen


def _check_audit(audit: str | None, data: str | None, threshold: float | Literal["f1"] | None) -> None:
    if audit is not None and data is not None:
        raise OptionError(f"--audit {audit} and --data {data}: each gives the images; give one of them.")
    if audit is not None and threshold == "f1":
        raise OptionError(
            f"--audit {audit} and --threshold f1: an audit is of a threshold that was there before; give one of them."
        )


def _read_drawn(
    opened: Run | Export,
    audit: str,
    before: Calibration | None,
    threshold: float | Literal["f1"] | None,
    rule: PartRule | None,
    progress: Progress,
) -> Drawn:
    """Return the parts of an audit; raises :class:`OptionError` if there is no threshold that they could audit."""
    if threshold is None and (before is None or before.image_threshold is None):
        raise OptionError(f"--audit {audit}: no threshold is in force; set one with --data DIR, or give a --threshold.")
    if before is not None and before.n and rule != before.parts:
        raise OptionError(f"--audit {audit}: audits the threshold in force, which tells parts in another way.")
    return read_drawn(audit, fitted_to(opened), rule, progress)


def _audit(
    drawn: Drawn, before: Calibration | None, after: Calibration, scorer: Scorer, progress: Progress
) -> Sequence[Audit]:
    """Audit the threshold that was in force, for which the bound is exact, and the new one that these parts set."""
    if after.method == "value":
        # With zones, what a value means depends on the good parts.
        return drawn.audit(scorer, [(after, bool(after.zones))], progress)
    assert before is not None
    # Parts that calibrated already set the threshold that there was: it is the same one again.
    same = before.image_scores == after.image_scores and before.image_threshold == after.image_threshold
    return drawn.audit(scorer, [(before, False)] if same else [(before, False), (after, True)], progress)


def _from_images(
    given: GoodImages,
    promised: tuple[float, float],
    rule: PartRule | None,
    scorer: Scorer,
    progress: Progress,
    where: str,
) -> _Found:
    """Calibrate with good images that the model has not seen."""
    rate, confidence = promised
    plan = CalibrationPlan(
        method="folder", rate=rate, confidence=confidence, good=given.items, parts=rule, part_of=given.part_of
    )
    found = calibrate(plan, scorer.runtime, scorer.source, batch_size=scorer.batch_size, progress=progress)
    if not found.n:
        raise DataError(f"{where}: none of its {len(given.items)} good images can be read; give others.")
    paths = [item.path for item in given.items]
    found = replace(found, given=fingerprint(paths, digests_of(paths, skip_unreadable=True)))
    picture = draw_threshold_image(found, plan, scorer.runtime, scorer.source)
    return _Found(found, given.reference, given.left_out, picture)


def _from_scores(
    opened: Run | Export, before: Calibration | None, rate: float | None, confidence: float | None
) -> _Found:
    """Take the scores that there are, perhaps at another rate, or with another confidence."""
    if before is None:
        raise RunError(
            f"{opened.path / CALIBRATION_FILE}: cannot be used, and no calibration is kept that could take its "
            "place; give good images with --data DIR."
        )
    other = rate is not None or confidence is not None
    found = _Found(before.at_rate(before.rate if rate is None else rate, confidence) if other else before)
    with contextlib.suppress(RunError):
        # Without a history, the scores are there all the same.
        found.data = read_kept(opened.path, before.number).data
    return found


def _at_best_f1(opened: Run | Export, found: _Found, folder: Path, scorer: Scorer, progress: Progress) -> _Found:
    """Separate the good images that calibrate, and those of a folder, from its defects."""
    calibration = found.calibration
    where = f"--validation {folder}"
    samples = guard_samples(
        list_labelled(folder, progress.note, calibration.parts),
        fitted_to(opened),
        where,
        progress.note,
        counted=calibration.scored_digests,
        skip_unreadable=scorer.source.skip_unreadable,
    )
    inputs = progress.track(
        scorer.source.stream(items_of(sample.image for sample in samples)), len(samples), "validating"
    )
    scores, found_defective = join_validation(
        samples, score_joined(scorer.runtime, inputs, scorer.batch_size, calibration)
    )
    labels = [False] * calibration.n + found_defective
    if True not in labels:
        raise DataError(f"{where}: has no defective images; give a folder with a folder for each kind of defect.")
    if False not in labels:
        raise DataError(
            f"{where}: has no good images, and neither has the calibration; add a folder 'good', or give some with "
            "--data DIR."
        )
    calibration = calibration.at_best_f1([*calibration.image_scores, *scores], labels)
    digests = digests_of([sample.image for sample in samples], skip_unreadable=True)
    return replace(found, calibration=calibration, validated=digests)


def _count_tested(opened: Run | Export, found: _Found, progress: Progress) -> int:
    """Return how many of the images that set a threshold are the run's test images; an export knows of none."""
    if isinstance(opened, Export) or found.calibration.method == "value":
        return 0
    try:
        tested = {image.digest for image in read_images(opened.path) if image.role == "test"}
    except RunError as error:
        # Scores that there are can be used without it.
        progress.note(f"warning: {error.message.rstrip('.')}; whether test images set the threshold is not known.")
        return 0
    return sum(digest in tested for digest in (*found.calibration.scored_digests, *found.validated))


def note_doubt(kept: KeptCalibration, progress: Progress) -> None:
    """Warn of test images that set a threshold."""
    if kept.doubt():
        progress.note(f"warning: {kept.doubt()}.")


def _complete_promise(
    opened: Run | Export, before: Calibration | None, rate: float | None, confidence: float | None
) -> tuple[float, float]:
    """Return a rate and its confidence: what is not given is as in force, or as it was asked for first."""
    if before is not None:
        default = before.rate, before.confidence
    else:
        asked = opened.settings if isinstance(opened, Run) else opened.manifest.get("calibration", {})
        name = "rate" if isinstance(opened, Export) else "false_alarm_rate"
        default = float(asked.get(name, FIELDS["false_alarm_rate"].default)), float(asked.get("confidence", 0.0))
    return default[0] if rate is None else rate, default[1] if confidence is None else confidence


def fitted_to(opened: Run | Export) -> Collection[str]:
    """Return the digests of the images that the model of a run or an export was fitted to."""
    return opened.fitted if isinstance(opened, Export) else fitted_digests(opened.path)


def _weights(opened: Run | Export) -> str:
    return str(opened.manifest["run"]["weights"] if isinstance(opened, Export) else opened.record["weights"])


def _keep(opened: Run | Export, found: _Found, before: Calibration | None, command: str) -> KeptCalibration:
    """Return the calibration with its number and what is kept with it."""
    number = next_number(opened.path, before)
    calibration = replace(found.calibration, weights=_weights(opened), number=number)
    replaced = before.number if before else number - 1
    return KeptCalibration(
        calibration,
        now(),
        command,
        found.data,
        found.left_out,
        replaced=replaced or None,
        audits=found.audits,
    )


def _stage(opened: Run | Export, staged: Path, kept: KeptCalibration, picture: bytes | None) -> None:
    """Write all that a calibration changes, to appear in one step."""
    files = kept_files(kept, picture)
    if isinstance(opened, Export):
        files |= format_calibrated(opened, kept.calibration)
    else:
        files[LOG_FILE] = _read(inside(opened.path, LOG_FILE), _LARGEST_LOG) + _describe(kept).encode()
    for name, content in files.items():
        path = staged / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


def _read(path: Path, largest: int) -> bytes:
    """Return the content of a file of a run; nothing if it is not there."""
    try:
        return read_bytes(path, largest)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); move it away.") from None


def _describe(kept: KeptCalibration) -> str:
    words = f"calibration {kept.number}, in the place of {kept.replaced}: threshold {kept.calibration.promise()}"
    how = one_line(kept.command) if kept.command else "from Python"
    return f"{kept.time} {one_line(words)}: {how}\n"
