"""Before the fit: whether the images of a training, and their masks, can be used, as far as their headers tell."""

from collections.abc import Sequence
from dataclasses import replace

from adcli.data.headers import Problem, check_headers
from adcli.data.samples import Sample
from adcli.data.source import ImageSource
from adcli.errors import DataError
from adcli.progress import Progress
from adcli.runs.settings import TrainSettings
from adcli.scoring.thresholds import CalibrationPlan


def keep_usable(
    settings: TrainSettings, test: Sequence[Sample], plan: CalibrationPlan, source: ImageSource, progress: Progress
) -> CalibrationPlan:
    """Return the plan without images that their headers tell to be useless, which are noted.

    Test images are not left out: the evaluation lists each that it cannot read.

    Args:
        settings: say whether such images are left out.
        test: samples that are looked at as well, if nothing is left out.
        plan: its images are looked at.
        source: collects what is left out, and says how images are framed.
        progress: receives progress and notes.

    Raises:
        DataError: there are such images, and they are not to be left out; or too few are left.
    """
    good = [Sample(item.path) for item in (*plan.fit, *plan.good)]
    samples = [*good, *(() if settings.skip_unreadable else test), *plan.validation]
    found = progress.track(check_headers(samples, source.framing), len(samples), "checking images")
    problems = [problem for problem in found if problem is not None]
    if not problems:
        return plan
    if not settings.skip_unreadable:
        raise DataError(_summarise(problems))
    for problem in problems:
        source.skipped[str(problem.sample.image)] = problem.message
        progress.note(f"skipped: {problem.message}")
    return _without({problem.sample for problem in problems}, settings, plan)


def _summarise(problems: Sequence[Problem]) -> str:
    first, others = problems[0].message, len(problems) - 1
    if not others:
        return f"{first} Repair or remove it, or use --skip-unreadable."
    files = "file" if others == 1 else "files"
    return f"{first} {others} more such {files}; repair or remove them, or use --skip-unreadable."


def _without(useless: set[Sample], settings: TrainSettings, plan: CalibrationPlan) -> CalibrationPlan:
    good = [item for item in plan.good if Sample(item.path) not in useless]
    validation = [sample for sample in plan.validation if sample not in useless]
    if plan.good and not good:
        raise DataError(f"--calibration {settings.calibration}: none of its images can be used; give others.")
    if plan.validation and {sample.label for sample in validation} != {"good", "defect"}:
        raise DataError("--threshold f1: no good or no defective validation images can be used; give others.")
    return replace(plan, good=good, validation=validation)
