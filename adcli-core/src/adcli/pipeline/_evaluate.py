"""Evaluating a finished run on labelled images."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adcli._changes import changing, inside
from adcli._files import parse_json, read_state, write_atomically
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
from adcli.runs.run import Run
from adcli.scoring.calibration import Calibration
from adcli.scoring.scorer import Scorer

ORIGIN_FILE = "evaluation.json"
_OWN_ORIGIN: dict[str, Any] = {"data": None, "data_options": {}}


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
    if name is not None:
        name_folder(run.path, name)
    options = dict(run.settings["data_options"]) if data is None else {}
    loaded = load_data(data if data is not None else run.settings["data"], options | dict(data_options or {}))
    progress.note(loaded.splits.description)
    if not loaded.splits.test:
        raise DataError(f"{loaded.reference or 'the data'}: has no test images; evaluation needs some.")
    origin = _describe_origin(loaded, data, data_options or {})
    folder = _choose_folder(run, loaded, origin, name)
    with changing(run.path, f"{EVALUATIONS}/{folder.name}", marker=METRICS_FILE) as staged:
        if _choose_folder(run, loaded, origin, name) != folder:
            raise RunError(f"{folder}: another command has just made it, of other data; evaluate again.")
        evaluation = _write(staged, run, folder.name, scorer or open_scorer(run), loaded, origin, progress)
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
        return KnownImages(calibrated=calibration.digests if calibration.keeps_a_rate else ())


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
    return not folder.exists() or read_origin(folder) == origin


def read_origin(folder: Path) -> dict[str, Any] | None:
    """Return what data an evaluation is of; None if it does not say."""
    if folder.name == OWN and not (folder / ORIGIN_FILE).exists():
        return _OWN_ORIGIN
    try:
        origin = parse_json(read_state(inside(folder, ORIGIN_FILE)))
        return {"data": origin["data"], "data_options": dict(origin["data_options"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
