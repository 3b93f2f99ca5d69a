"""The page of a run or of an evaluation: what it shows, and whether it shows the run as it is now."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adcli._files import write_atomically
from adcli.data.fingerprint import relative_names
from adcli.data.samples import Sample, count_labels
from adcli.pipeline._evaluation_pass import Evaluation
from adcli.report.page import Card, Page, render
from adcli.runs.run import Run
from adcli.scoring.calibration import Calibration

_HEAD = 4096
"""Bytes of a page within which it says which calibration it shows."""


def write_report(path: Path, run: Run, evaluation: Evaluation | None, on: str = "") -> None:
    """Write the page of a run.

    Args:
        path: the HTML file.
        run: a finished run, or one that is about to be.
        evaluation: what was found in test images; None where there are none.
        on: what they are, in words.
    """
    write_atomically(path, render(_page(run, evaluation, on)))


def shows(path: Path, calibration: Calibration) -> bool:
    """Tell whether there is a page that shows this calibration."""
    try:
        with path.open("rb") as file:
            return calibration.digest.encode() in file.read(_HEAD)
    except OSError:
        return False


def _page(run: Run, evaluation: Evaluation | None, on: str) -> Page:
    tested = evaluation.tested if evaluation else ()
    labelled = [item for item in tested if item.sample.label is not None]
    subtitle = f"evaluated on {on or 'the test images'}" if evaluation else _why_untested(run)
    return Page(
        title=run.name,
        subtitle=f"{run.settings['model']}, {subtitle}",
        facts=_facts(run, [item.sample for item in tested]),
        calibration=run.calibration,
        metrics=evaluation.metrics if evaluation else {},
        scores=np.array([item.prediction.score for item in labelled]),
        is_defect=np.array([item.sample.label == "defect" for item in labelled], bool),
        cards=_cards(evaluation) if evaluation else (),
        tested=len(tested),
        details=dict(_flat("", {**run.settings, **run.record})),
    )


def _why_untested(run: Run) -> str:
    return "not evaluated" if "not_evaluated" in run.record else "without test images"


def _cards(evaluation: Evaluation) -> Sequence[Card]:
    paths = [item.sample.image for item in evaluation.tested]
    names = dict(zip(paths, relative_names(paths), strict=True))
    return [
        Card(names[sample.image], sample.label, sample.defect, said.score, said.p_value, said.is_defect, picture)
        for sample, said, picture in evaluation.shown
    ]


def _facts(run: Run, tested: Sequence[Sample]) -> Mapping[str, str]:
    """Return what was run, in a few words each."""
    settings, record = run.settings, run.record
    options, data, plugin = settings["options"], record["data"], record["plugin"]
    facts = {
        "model": f"{settings['model']} ({plugin['distribution']} {plugin['version']})",
        "backbone": str(options["backbone"]) + _replaced(record["backbone"]) if "backbone" in options else "",
        "learnt from": f"{data['fitted']} good images of {_name(settings['data'])}, {data['held_out']} held out",
        "tested": count_labels(tested) if tested else "",
        "size": str(settings["image_size"]) + (", letterbox" if settings.get("fit") == "letterbox" else ""),
        "looked at": _looked_at(settings),
        "trained": str(settings.get("created", ""))[:16].replace("T", " "),
    }
    return {name: value for name, value in facts.items() if value}


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


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested settings by dotted name."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else str(name), inner)
    elif isinstance(value, (list, tuple)):
        yield prefix, ", ".join(map(str, value))
    else:
        yield prefix, "none" if value is None or value == {} else str(value)
