"""The page of a finished run, made again when it no longer shows the run as it is."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adcli._changes import changing, inside
from adcli._commands import quote
from adcli.errors import OptionError, RunError
from adcli.pipeline._evaluate import ORIGIN_FILE, evaluate, read_origin
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
    page, progress = inside(folder, REPORT_FILE), progress or Silent()
    if shows(page, run.calibration):
        return page
    progress.note(f"{page}: {'shows other thresholds than the run has now' if page.exists() else 'missing'}; making it")
    if name is not None:
        origin = _read_origin(folder)
        try:
            evaluate(run, origin["data"], origin["data_options"], scorer=scorer(run), name=name, progress=progress)
        except OptionError as error:
            raise RunError(f"{folder / ORIGIN_FILE}: {error.format_message().rstrip('.')}; evaluate again.") from None
    elif inside(run.path, METRICS_FILE).is_file() or inside(run.path, f"{EVALUATIONS}/{OWN}").is_dir():
        # Without its metrics, a run that was evaluated must not look like one that had nothing to test.
        evaluate(run, scorer=scorer(run), progress=progress)
    else:
        with changing(run.path, REPORT_FILE) as staged:
            write_report(staged / REPORT_FILE, run, None)
    return page


def _read_origin(folder: Path) -> Mapping[str, Any]:
    """Return the data that an evaluation was made from, as ``--data`` takes it, and its options."""
    origin = read_origin(folder)
    if origin is None:
        command = quote("adcli", "evaluate", folder.parents[1], "--data", "REF", "--name", folder.name)
        raise RunError(
            f"{folder}: does not say what it was made from; move it away, and evaluate again with: {command}"
        )
    return origin
