"""Giving a finished run another threshold, from other good images or for another rate, without training it again."""

from collections.abc import Sequence
from dataclasses import replace

from adcli._files import write_atomically
from adcli.data.fingerprint import fingerprint
from adcli.data.references import load_data
from adcli.data.samples import Sample
from adcli.data.source import Item, items_of
from adcli.data.splitting import content_digests
from adcli.errors import DataError, OptionError
from adcli.pipeline._open import open_scorer
from adcli.progress import Progress, Silent
from adcli.runs.run import CALIBRATION_FILE, Run
from adcli.scoring.scorer import Scorer
from adcli.scoring.thresholds import CalibrationPlan, calibrate


def recalibrate(
    run: Run,
    data: str | None = None,
    *,
    rate: float | None = None,
    scorer: Scorer | None = None,
    progress: Progress | None = None,
) -> Run:
    """Set a finished run's thresholds and colours again, and return the run with them; its weights stay as they are.

    Args:
        run: a finished run; its ``calibration.json`` is replaced, in one step.
        data: good images that the model has not seen, as ``--data`` takes them; the scores that the run has when None.
        rate: the false-alarm rate; the run's when None.
        scorer: the run's restored model, where other than the default device, batch size or threads are wanted.
        progress: receives progress and notes.

    Raises:
        OptionError: neither data nor a rate is given, or the run has no scores of good images.
        DataError: there are no good images, or they are those that the model was trained on.
    """
    if data is None:
        if rate is None:
            raise OptionError("give good images with --data, another --false-alarm-rate, or both.")
        calibration = run.calibration.at_rate(rate)
    else:
        scorer = scorer or open_scorer(run)
        images, digest = _good_images(run, data)
        plan = CalibrationPlan(method="folder", rate=run.calibration.rate if rate is None else rate, good=images)
        found = calibrate(
            plan, scorer.runtime, scorer.source, batch_size=scorer.batch_size, progress=progress or Silent()
        )
        calibration = replace(found, given=digest)
    write_atomically(run.path / CALIBRATION_FILE, calibration.to_json())
    return Run.open(run.path)


def _good_images(run: Run, data: str) -> tuple[Sequence[Item], str]:
    samples: Sequence[Sample] = load_data(data, {}).splits.train
    if not samples:
        raise DataError(f"--data {data}: has no good images.")
    images = [sample.image for sample in samples]
    digest = fingerprint(images, content_digests(images))
    if digest == run.record["data"]["fingerprint"]:
        raise DataError(
            f"--data {data}: are the images that the run was trained on, whose scores promise nothing of new ones; "
            "give others."
        )
    return items_of(images), digest
