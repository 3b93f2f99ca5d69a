"""Evaluating a finished run on labelled images."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from adcli._artefacts import Artefact, load_json
from adcli._changes import changing, inside
from adcli._files import write_atomically
from adcli.data.left_out import say
from adcli.data.part_rule import refuse_more_views
from adcli.data.references import Data, load_data
from adcli.errors import DataError, OptionError, RunError
from adcli.pipeline._evaluation_pass import (
    EVALUATIONS,
    METRICS_FILE,
    OWN,
    REPORT_FILE,
    Evaluation,
    copy_to_top,
    evaluate_into,
    make_name,
    name_folder,
)
from adcli.pipeline._open import open_scorer
from adcli.pipeline._run_page import write_report
from adcli.pipeline._seen_images import KnownImages
from adcli.progress import Progress, Silent
from adcli.runs.images import read_images
from adcli.runs.run import Run, blaming
from adcli.scoring.calibration import Calibration
from adcli.scoring.part_verdicts import NAMELESS
from adcli.scoring.scorer import Scorer

ORIGIN_FILE = "evaluation.json"
_OWN_ORIGIN: dict[str, Any] = {"data": None, "data_options": {}}


class _Origin(TypedDict):
    """What ``evaluation.json`` holds."""

    data: str | None
    data_options: dict[str, Any]


def evaluate(
    run: Run,
    data: str | None = None,
    data_options: Mapping[str, Any] | None = None,
    *,
    scorer: Scorer | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> tuple[Evaluation, Path]:
    """Score labelled images with a finished run; returns the outcome and the folder it was written to.

    Args:
        run: a finished run.
        data: what ``--data`` takes; the data set the run was trained on when None.
        data_options: options of the data set.
        scorer: the run's restored model, where the caller has it; see :func:`open_scorer`.
        name: the evaluation's folder under ``evaluations``; when None, ``test`` for the run's own data, else the data
            set's name, with a number if the evaluation of another has it.
        progress: receives progress and notes.

    Raises:
        DataError: the data set has nothing to test on.
        OptionError: the name is that of an evaluation of other data.
        RunError: another process evaluates into the same folder.
    """
    progress = progress or Silent()
    parts = (run if scorer is None else scorer).calibration.parts
    pattern = "" if parts is None else parts.pattern
    if name is not None:
        name_folder(run.path, name)
    if data is None:
        given = data_options or {}
        with blaming(run.path, "data_options", given):
            loaded = load_data(run.settings["data"], {**run.settings["data_options"], **given}, part=pattern)
    else:
        loaded = load_data(data, dict(data_options or {}), part=pattern)
    progress.note(loaded.splits.description)
    say(loaded.splits.left_out, progress.note)
    if not loaded.splits.test:
        raise DataError(f"{loaded.reference or 'the data'}: has no test images; evaluation needs some.")
    refuse_more_views(loaded.splits.test, parts)
    if parts and not any(sample.part for sample in loaded.splits.test):
        progress.note(NAMELESS)
    origin = _describe_origin(loaded, data, data_options or {})
    folder = _choose_folder(run, loaded, origin, name)
    with changing(run.path, f"{EVALUATIONS}/{folder.name}", marker=METRICS_FILE) as staged:
        if _choose_folder(run, loaded, origin, name) != folder:
            raise RunError(f"{folder}: another command has just made it, of other data; evaluate again.")
        scorer = scorer or open_scorer(run)
        evaluation = _write(staged, run, folder.name, scorer, loaded, origin, progress)
        say(scorer.source.left_out, progress.note, "note")
    return evaluation, folder


def _write(
    staged: Path,
    run: Run,
    name: str,
    scorer: Scorer,
    loaded: Data,
    origin: Mapping[str, Any],
    progress: Progress,
) -> Evaluation:
    """Evaluate, and write all that belongs together."""
    folder = staged / EVALUATIONS / name
    known = _read_known(run, scorer.calibration, progress)
    evaluation = evaluate_into(folder, scorer, loaded.splits.test, progress, known)
    write_report(folder / REPORT_FILE, run, evaluation, loaded.name)
    write_atomically(folder / ORIGIN_FILE, json.dumps(origin) + "\n")
    if name == OWN:
        copy_to_top(folder, staged)
    return evaluation


def _read_known(run: Run, calibration: Calibration, progress: Progress) -> KnownImages:
    """Return the images that a run knows."""
    try:
        return KnownImages.of(read_images(run.path), calibration)
    except RunError as error:
        # Metrics can be had without it.
        progress.note(
            f"warning: {error.message.rstrip('.')}; whether the model was fitted to test images is not known."
        )
        return KnownImages(calibrated=calibration.scored_digests if calibration.keeps_a_rate else ())


def _describe_origin(loaded: Data, data: str | None, data_options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what data an evaluation is of, as it is written down."""
    given = {key: loaded.options[key] for key in data_options}
    described: dict[str, Any] = json.loads(
        json.dumps({"data": loaded.reference if data is not None else None, "data_options": given}, default=str)
    )
    return described


def _choose_folder(run: Run, loaded: Data, origin: Mapping[str, Any], name: str | None) -> Path:
    """Return the folder of an evaluation, which no evaluation of other data has.

    Raises:
        OptionError: the name that was given is taken.
    """
    chosen = name or (OWN if origin == _OWN_ORIGIN else make_name(loaded.name))
    if _is_free(run, chosen, origin):
        return name_folder(run.path, chosen)
    if name is not None:
        what = "the run's own data" if name == OWN else "other data"
        raise OptionError(f"'{name}' is the evaluation of {what}; choose another.", option="--name")
    number = 2
    while not _is_free(run, f"{chosen}-{number}", origin):
        number += 1
    return name_folder(run.path, f"{chosen}-{number}")


def _is_free(run: Run, name: str, origin: Mapping[str, Any]) -> bool:
    """Tell whether an evaluation may have a name: there is none of that name, or it is of the same data."""
    if name == OWN:
        return origin == _OWN_ORIGIN
    folder = name_folder(run.path, name)
    try:
        return not folder.exists() or read_origin(folder) == origin
    except RunError:
        return False


def read_origin(folder: Path) -> dict[str, Any] | None:
    """Return what data an evaluation is of; None if it does not say.

    Raises:
        RunError: what it says cannot be read; the message names file and field.
    """
    if folder.name == OWN and not (folder / ORIGIN_FILE).exists():
        return _OWN_ORIGIN
    try:
        origin = load_json(Artefact(inside(folder, ORIGIN_FILE), RunError, "evaluate its data again"), _Origin)
    except FileNotFoundError:
        return None
    return {"data": origin["data"], "data_options": origin["data_options"]}
