"""``adcli calibrate``."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from adcli._commands import quote
from adcli.cli.console import (
    ConsoleProgress,
    describe_promise,
    load_pipeline,
    print_fact,
    print_json,
    print_table,
    relative,
)
from adcli.cli.flags import (
    OPENED,
    SCORING,
    Command,
    drop_missing,
    flag,
    json_flag,
    megapixels_flag,
    operand,
    setting,
    settings,
)
from adcli.errors import OptionError
from adcli.runs.settings import parse_threshold

if TYPE_CHECKING:
    from adcli.pipeline import Export, KeptCalibration, Run


@click.command(cls=Command)
@operand("run", f"{OPENED} An export needs no torch.", complete="runs")
@setting(
    "data",
    "Good images that the model has not seen: a folder or data set.",
    otherwise="the run's",
    section="Calibration",
)
@setting("false_alarm_rate", otherwise="the run's")
@setting("confidence", otherwise="the run's")
@setting("threshold", "A number, or f1 for what separates the good images and --validation best.")
@setting("validation", "Folder with a folder for each kind of defect, for --threshold f1; 'good' may be missing.")
@flag(
    "--audit",
    metavar="REF",
    complete="data",
    section="Calibration",
    help="Labelled parts drawn at random, good and defective: bounds the share of defective ones that pass.",
)
@settings("part", "views")
@flag("--list", "listed", is_flag=True, section="Calibration", help="List every calibration that there was.")
@flag("--undo", is_flag=True, section="Calibration", help="Go back to the calibration before this one.")
@flag("--restore", type=int, metavar="N", section="Calibration", help="Bring back calibration N of --list.")
@settings(*SCORING)
@megapixels_flag
@json_flag
def calibrate(
    run: str,
    data: str | None,
    false_alarm_rate: float | None,
    confidence: float | None,
    threshold: str | None,
    validation: str | None,
    audit: str | None,
    part: str | None,
    views: int | None,
    listed: bool,
    undo: bool,
    restore: int | None,
    as_json: bool,
    **scoring: Any,
) -> None:
    """Set the threshold of a run or an export again, without training.

    With --data, the threshold comes from good images of today's line; without, from the scores that there are, for
    another --false-alarm-rate or --confidence. An export has a threshold of its own. Every calibration is kept.

    \b
    Examples:
      adcli calibrate last --data photos/new-good
      adcli calibrate last --false-alarm-rate 0.05
      adcli calibrate last --confidence 0.95
      adcli calibrate last --audit photos/drawn-at-random
      adcli calibrate last --list
      adcli calibrate last --undo
      adcli calibrate last --restore 2
      adcli calibrate last/exports/openvino --data photos
    """
    wanted = {
        "data": data,
        "rate": false_alarm_rate,
        "confidence": confidence,
        "threshold": threshold if threshold in (None, "f1") else parse_threshold(threshold),
        "validation": validation,
        "audit": audit,
        "part": part,
        "views": views,
    }
    _check_alone({"--list": listed, "--undo": undo, "--restore": restore is not None}, wanted)
    pipeline = load_pipeline()
    progress = ConsoleProgress()
    opened = pipeline.find(run, progress=progress, repairing=True)
    if listed:
        _print_list(pipeline.calibrations(opened), opened.calibration.number, as_json)
        return
    command = quote("adcli", *sys.argv[1:])
    if undo or restore is not None:
        restored = pipeline.restore_calibration(opened, restore, progress=progress, command=command)
        _print_outcome(opened, restored, as_json, undone=undo)
        return
    needs_images = data is not None or audit is not None or threshold == "f1"
    scorer = pipeline.open_scorer(opened, **drop_missing(scoring)) if needs_images else None
    calibrated = pipeline.recalibrate(opened, **wanted, scorer=scorer, progress=progress, command=command)
    for message in scorer.source.skipped.values() if scorer else ():
        progress.note(f"skipped: {message}")
    _print_outcome(opened, calibrated, as_json)


def _check_alone(alone: dict[str, bool], wanted: dict[str, Any]) -> None:
    given = [name for name, is_given in alone.items() if is_given]
    if given and (len(given) > 1 or any(value is not None for value in wanted.values())):
        raise OptionError("stands alone, without another calibration.", option=given[0])


def _print_outcome(opened: "Run | Export", calibrated: "Run | Export", as_json: bool, *, undone: bool = False) -> None:
    from adcli.runs.calibrations import find_way_back, read_kept

    before, after = opened.calibration, calibrated.calibration
    audits = () if undone else read_kept(calibrated.path, after.number).audits
    if as_json:
        thresholds = {"before": before.image_threshold, "threshold": after.image_threshold}
        explained = {
            "number": after.number,
            "images": after.n,
            **describe_promise(after),
            "explained": after.explain(),
            "audits": [audit.describe() for audit in audits],
        }
        print_json({"run": str(opened.path), **thresholds, **explained})
        return
    print_fact("before", before.promise() if before.number else "could not be read")
    print_fact("threshold", after.promise())
    for sentence in after.explain():
        print_fact("", sentence)
    for i, audit in enumerate(audits):
        print_fact("" if i else "audit", audit.say())
    picture = opened.path / "calibrations" / f"{after.number:04}.jpg"
    if picture.is_file():
        print_fact("look at", relative(picture))
    way_back = find_way_back(opened.path)
    if way_back is not None:
        # After --undo, another one would go back further.
        words = ("--restore", way_back.number) if undone else ("--undo",)
        print_fact("go back", quote("adcli", "calibrate", relative(opened.path), *words))
    if (opened.path / "report.html").is_file():
        command = quote("adcli", "report", relative(opened.path))
        print_fact("go on", f"{command}    (the report was made with the threshold before)")


def _print_list(kept: Sequence["KeptCalibration"], in_force: int, as_json: bool) -> None:
    if as_json:
        rates = [{"false_alarms": one.calibration.describe_rate()} for one in kept]
        print_json(
            [
                {**one.to_dict(), **rate, "in_force": one.number == in_force}
                for one, rate in zip(kept, rates, strict=True)
            ]
        )
        return
    names = ("number", "time", "threshold", "images", "how", "command")
    print_table(names, (_row(one, in_force) for one in kept), "no calibration is kept.", typed=("number", "time"))


def _row(kept: "KeptCalibration", in_force: int) -> Sequence[str]:
    calibration = kept.calibration
    how = calibration.method + calibration.say_rate()
    if kept.restores is not None:
        how += f"; {kept.restores} brought back"
    for audit in kept.audits:
        how += f"; {audit.say_briefly()}"
    if kept.tested:
        how += f"; {kept.tested} are test images"
    if kept.left_out:
        how += "; left out: " + ", ".join(f"{count} {reason}" for reason, count in kept.left_out.items())
    threshold = "-" if calibration.image_threshold is None else f"{calibration.image_threshold:.6g}"
    number = f"{kept.number}{' *' if kept.number == in_force else ''}"
    return number, kept.time, threshold, str(calibration.n), how, kept.command or "from Python"
