"""The page of a run or of an evaluation: what it shows, and whether it shows the run as it is now."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from adcli._changes import inside
from adcli._commands import quote
from adcli._files import write_atomically
from adcli._locking import open_regular
from adcli.data.fingerprint import relative_names
from adcli.data.samples import Sample, count_labels
from adcli.pictures.cards import embed
from adcli.pipeline._evaluation_pass import Evaluation, join_tested
from adcli.report.page import Card, Cause, Page, Unlike, render
from adcli.runs.calibrations import entry_path, read_kept, unlike_path
from adcli.runs.find import runs_folder
from adcli.runs.run import Run
from adcli.scoring.calibration import UNLIKE, Calibration

_HEAD = 4096
"""Bytes of a page within which it says which calibration it shows."""


def write_report(
    path: Path, run: Run, evaluation: Evaluation | None, on: str = "", *, files: Path | None = None
) -> None:
    """Write the page of a run.

    Args:
        path: the HTML file.
        run: a finished run, or one that is about to be.
        evaluation: what was found in test images; None where there are none.
        on: what they are, in words.
        files: where the run's files lie, if they are not at its path yet.
    """
    page = render(_page(run, evaluation, on, files or run.path))
    # The name of a file may be no text.
    write_atomically(path, page.encode(errors="backslashreplace"))


def shows(path: Path, calibration: Calibration) -> bool:
    """Tell whether there is a page that shows this calibration."""
    try:
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            return f"{calibration.digest} {calibration.number}".encode() in file.read(_HEAD)
    except OSError:
        return False


def _page(run: Run, evaluation: Evaluation | None, on: str, files: Path) -> Page:
    tested = evaluation.tested if evaluation else ()
    scored = join_tested(tested)
    subtitle = f"evaluated on {on or 'the test images'}" if evaluation else _why_untested(run)
    return Page(
        title=f"{run.settings['model']} on {_name(run.settings['data'])}",
        run=run.name,
        command=_calibrate_command(run.path),
        subtitle=f"run {run.name}, {subtitle}",
        facts=_facts(run, [item.sample for item in tested]),
        calibration=run.calibration,
        metrics=evaluation.metrics if evaluation else {},
        scores=np.array([one.score for one in scored]),
        is_defect=np.array([one.is_defect for one in scored], bool),
        cards=_cards(evaluation) if evaluation else (),
        tested=len(tested),
        details=_details(run),
        unreadable=_unreadable(evaluation) if evaluation else {},
        made=_describe_making(run.calibration, files),
        cause=_cause(run.calibration, files),
        unlike=_list_unlike(files),
    )


def _why_untested(run: Run) -> str:
    reason = run.record.get("not_evaluated")
    return f"not evaluated: {reason}" if reason else "without test images"


def _names(evaluation: Evaluation) -> Mapping[Path, str]:
    """Return what the page calls each image, by its path."""
    paths = [item.sample.image for item in (*evaluation.tested, *evaluation.unreadable)]
    return dict(zip(paths, relative_names(paths), strict=True))


def _unreadable(evaluation: Evaluation) -> Mapping[str, str]:
    """Return why images could not be read, by name; the reasons do not repeat their folders."""
    names = _names(evaluation)
    return {
        names[sample.image]: said.problem.removeprefix(f"{sample.image}: ").replace(
            str(sample.image), sample.image.name
        )
        for sample, said in evaluation.unreadable
    }


def _cause(calibration: Calibration, files: Path) -> Cause | None:
    name, scores = calibration.threshold_image, calibration.image_scores
    if name is None:
        return None
    at = calibration.images.index(name)
    below = scores[at - 1] if at else None
    picture = inside(files, entry_path(calibration.number, ".jpg"))
    return Cause(name, scores[at], below, calibration.explain(), embed(picture) if picture.is_file() else "")


def _list_unlike(files: Path) -> Sequence[Unlike]:
    """Return the fitted images that look least like the others, whatever set the threshold since."""
    if not inside(files, entry_path(1)).is_file():
        return ()
    pictures = [inside(files, unlike_path(place)) for place in range(1, UNLIKE + 1)]
    found = zip(read_kept(files, 1).calibration.unlike, pictures, strict=False)
    return [Unlike(name, score, embed(picture) if picture.is_file() else "") for (name, score), picture in found]


def _describe_making(calibration: Calibration, files: Path) -> str:
    """Return which of a run's calibrations this is, when and how it was made; empty if that is not kept."""
    if not inside(files, entry_path(calibration.number)).is_file():
        return ""
    kept = read_kept(files, calibration.number)
    how = f" by '{kept.command}'" if kept.command else ""
    back = f"; it brings back calibration {kept.restores}" if kept.restores is not None else ""
    doubt = f" {kept.doubt()}." if kept.tested else ""
    doubt += "".join(f" Audit: {audit.say()}" for audit in kept.audits)
    return f"Calibration {kept.number}, made {kept.time[:16].replace('T', ' ')} UTC{how}{back}.{doubt}"


def _calibrate_command(path: Path) -> str:
    """Return what begins a command that calibrates a run: by its name if it lies where runs are looked for."""
    # The current folder may be gone, or another.
    with contextlib.suppress(ValueError, FileNotFoundError):
        if path.absolute().parent == runs_folder().absolute():
            path = Path(path.name)
        path = path.absolute().relative_to(Path.cwd()) if path.is_absolute() else path
    # What begins with a dash would be read as an option.
    return quote("adcli", "calibrate", f"./{path}" if str(path).startswith("-") else path)


def _cards(evaluation: Evaluation) -> Sequence[Card]:
    names = _names(evaluation)
    return [
        Card(
            names[sample.image],
            sample.label,
            sample.defect,
            said.score,
            said.p_value,
            said.is_defect,
            picture,
            said.zones,
        )
        for sample, said, picture in evaluation.shown
    ]


def _facts(run: Run, tested: Sequence[Sample]) -> Mapping[str, str]:
    """Return what was run, in a few words each."""
    settings, record = run.settings, run.record
    options, data, plugin = settings["options"], record["data"], record["plugin"]
    learnt = " and ".join(map(_name, [settings["data"], *(step["data"] for step in record.get("updates", ()))]))
    facts = {
        "model": f"{settings['model']} ({plugin['distribution']} {plugin['version']})",
        "backbone": str(options["backbone"]) + _replaced(record["backbone"]) if "backbone" in options else "",
        "learnt from": f"{data['fitted']} good images of {learnt}, {data['held_out']} held out",
        "tested": count_labels(tested) if tested else "",
        "size": _say_size(settings),
        "looked at": _looked_at(settings),
        "trained": _utc(str(settings.get("created", ""))),
        "epochs": "{trained}, of which {kept} are kept".format(**record["stopped"]) if "stopped" in record else "",
        "note": run.note,
    }
    return {name: value for name, value in facts.items() if value}


def _utc(time: str) -> str:
    """Return a time as the page shows all of them; nothing if it is not known."""
    return datetime.fromisoformat(time).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if time else ""


def _say_size(settings: Mapping[str, Any]) -> str:
    words = [str(settings["image_size"]), "letterbox" if settings.get("fit") == "letterbox" else ""]
    words.append(f"{settings['tiles']} tiles" if settings.get("tiles") else "")
    return ", ".join(filter(None, words))


def _looked_at(settings: Mapping[str, Any]) -> str:
    """Return which part of images is looked at; nothing where all of it is."""
    words = [f"{name} {settings[name]}" for name in ("region", "crop") if settings.get(name)]
    if settings.get("ignore"):
        words.append(f"without {Path(settings['ignore']).name}")
    return ", ".join(words)


def _name(data: str | None) -> str:
    return "the demo data" if data is None else Path(data).name


def _replaced(backbone: Mapping[str, Any]) -> str:
    default = backbone.get("default_not_available")
    return f", in place of {default}" if default else ""


def _details(run: Run) -> Mapping[str, str]:
    """Return every setting and record of a run by its dotted name."""
    content = {**run.settings, **run.record}
    # When a run was finished is not known while its first page is written, and a page is the same whenever it is made.
    content.pop("finished", None)
    return dict(_flat("", content))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested settings by dotted name."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else str(name), inner)
    elif isinstance(value, (list, tuple)) and any(isinstance(inner, Mapping) for inner in value):
        yield from _flat(prefix, {str(number): inner for number, inner in enumerate(value, 1)})
    elif isinstance(value, (list, tuple)):
        yield prefix, ", ".join(map(str, value))
    else:
        yield prefix, "none" if value is None or value == {} else str(value)
