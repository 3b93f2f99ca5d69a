"""Evaluating a finished run on labelled images."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adcli._files import publish, write_atomically
from adcli.data.references import load_data
from adcli.errors import DataError
from adcli.pipeline._evaluation_pass import (
    OWN,
    REPORT_FILE,
    Evaluation,
    copy_to_top,
    evaluate_into,
    name_folder,
)
from adcli.pipeline._open import open_scorer
from adcli.pipeline._run_page import write_report
from adcli.progress import Progress, Silent
from adcli.runs.run import Run
from adcli.scoring.scorer import Scorer

ORIGIN_FILE = "evaluation.json"


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
        name: the evaluation's folder under ``evaluations``; the data set's name when None.
        progress: receives progress and notes.

    Raises:
        DataError: the data set has nothing to test on.
    """
    progress = progress or Silent()
    if name is not None:
        name_folder(run.path, name)
    options = dict(run.settings["data_options"]) if data is None else {}
    loaded = load_data(data if data is not None else run.settings["data"], options | dict(data_options or {}))
    progress.note(loaded.splits.description)
    if not loaded.splits.test:
        raise DataError(f"{loaded.reference or 'the data'}: has no test images; evaluation needs some.")
    scorer = scorer or open_scorer(run)
    folder = name_folder(run.path, (OWN if data is None else loaded.name) if name is None else name)
    temporary = folder.with_name(f".{folder.name}.partial")
    evaluation = evaluate_into(temporary, scorer, loaded.splits.test, progress)
    write_report(temporary / REPORT_FILE, run, evaluation, loaded.name)
    given = {key: loaded.options[key] for key in data_options or {}}
    origin = {"data": loaded.reference if data is not None else None, "data_options": given}
    write_atomically(temporary / ORIGIN_FILE, json.dumps(origin, default=str) + "\n")
    publish(temporary, folder)
    if folder.name == OWN and data is None and not data_options:
        copy_to_top(folder, run.path)
    return evaluation, folder
