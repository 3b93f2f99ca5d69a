"""The page of a finished run, made again when it no longer shows the run as it is."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adcli._commands import quote
from adcli.errors import RunError
from adcli.pipeline._evaluate import ORIGIN_FILE, evaluate
from adcli.pipeline._evaluation_pass import EVALUATIONS, METRICS_FILE, OWN, REPORT_FILE, name_folder
from adcli.pipeline._open import open_scorer
from adcli.pipeline._run_page import shows, write_report
from adcli.progress import Progress, Silent
from adcli.runs.run import Run
from adcli.scoring.scorer import Scorer


def report(
    run: Run,
    name: str | None = None,
    *,
    scorer: Callable[[Run], Scorer] = open_scorer,
    progress: Progress | None = None,
) -> Path:
    """Return the page of a run; where there is none, or it shows other thresholds than the run has now, it is made.

    For that, its test images are scored again, from where they were; without any, it shows what the threshold promises.

    Args:
        run: a finished run.
        name: an evaluation, for its page; the run's own when None.
        scorer: restores the run's model, where that is needed; for other than the default device or batch size.
        progress: receives progress and notes.

    Raises:
        RunError: there is no such evaluation, or it does not say what it was made from.
        DataError: its images are gone.
    """
    folder = run.path if name is None else name_folder(run.path, name)
    if name is not None and not folder.is_dir():
        command = quote("adcli", "evaluate", run.path, "--data", "REF", "--name", name)
        raise RunError(f"{folder}: no such evaluation; make it with: {command}")
    page, progress = folder / REPORT_FILE, progress or Silent()
    if shows(page, run.calibration):
        return page
    progress.note(f"{page}: {'shows other thresholds than the run has now' if page.exists() else 'missing'}; making it")
    if name is not None:
        data, options = _origin(folder)
        evaluate(run, data, options, scorer=scorer(run), name=name, progress=progress)
    elif (run.path / METRICS_FILE).is_file() or (run.path / EVALUATIONS / OWN).is_dir():
        # Without its metrics, a run that was evaluated must not look like one that had nothing to test.
        evaluate(run, scorer=scorer(run), progress=progress)
    else:
        write_report(page, run, None)
    return page


def _origin(folder: Path) -> tuple[str | None, Mapping[str, Any]]:
    """Return the data that an evaluation was made from, as ``--data`` takes it, and its options."""
    if folder.name == OWN and not (folder / ORIGIN_FILE).exists():
        return None, {}
    try:
        origin = json.loads((folder / ORIGIN_FILE).read_text(encoding="utf-8"))
        return origin["data"], origin["data_options"]
    except (OSError, ValueError, KeyError, TypeError):
        command = quote("adcli", "evaluate", folder.parents[1], "--data", "REF", "--name", folder.name)
        raise RunError(f"{folder}: does not say what it was made from; evaluate it again with: {command}") from None
