"""Parts that were drawn at random from the line and looked at: the good ones calibrate, and all of them audit."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adcli.data.guarding import digests_of, guard
from adcli.data.left_out import say
from adcli.data.references import load_data
from adcli.data.samples import Sample
from adcli.data.source import items_of
from adcli.errors import DataError
from adcli.pipeline._good_images import GoodImages
from adcli.progress import Progress
from adcli.runs.audits import Audit
from adcli.scoring.calibration import Calibration
from adcli.scoring.scorer import Scorer, score_joined


@dataclass(frozen=True)
class Drawn:
    """Labelled parts of a data set that the model is not fitted to, each once.

    Attributes:
        samples: all of them.
        digests: of their files.
        given: the good ones, which calibrate.
    """

    samples: list[Sample]
    digests: list[str]
    given: GoodImages

    def audit(
        self, scorer: Scorer, calibrations: list[tuple[Calibration, bool]], progress: Progress
    ) -> tuple[Audit, ...]:
        """Return what the thresholds of some calibrations do with the parts.

        Args:
            scorer: scores them.
            calibrations: each with whether its threshold depends on the parts.
            progress: receives progress.
        """
        scored: dict[bool, tuple[NDArray[np.float64], NDArray[np.bool_]]] = {}
        audits = []
        for calibration, estimated in calibrations:
            # With zones, a score is where it stands among those that calibrate; else it is the model's.
            own = bool(calibration.zones)
            if own or False not in scored:
                scored[own] = self._score(scorer, calibration, progress)
            audits.append(_judge(calibration, *scored[own], estimated=estimated or self._set(calibration)))
        return tuple(audits)

    def _score(
        self, scorer: Scorer, calibration: Calibration, progress: Progress
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the scores of the parts, (N,), and which of them are defective, (N,)."""
        defective = {sample.image for sample in self.samples if sample.label == "defect"}
        inputs = scorer.source.stream(items_of(sample.image for sample in self.samples))
        tracked = progress.track(inputs, len(self.samples), "auditing")
        scored = list(score_joined(scorer.runtime, tracked, scorer.batch_size, calibration))
        return np.array([score for _, score in scored]), np.array([item.path in defective for item, _ in scored], bool)

    def _set(self, calibration: Calibration) -> bool:
        """Tell whether some of the parts set the threshold."""
        return calibration.keeps_a_rate and not {*calibration.digests}.isdisjoint({*self.digests} - {""})


def _judge(
    calibration: Calibration, scores: NDArray[np.float64], is_defect: NDArray[np.bool_], *, estimated: bool
) -> Audit:
    assert calibration.image_threshold is not None
    called = scores > calibration.image_threshold
    return Audit(
        threshold=calibration.image_threshold,
        good=int((~is_defect).sum()),
        defective=int(is_defect.sum()),
        alarms=int((called & ~is_defect).sum()),
        missed=int((~called & is_defect).sum()),
        estimated=estimated,
    )


def read_drawn(reference: str, fitted: Collection[str], progress: Progress) -> Drawn:
    """Return the labelled parts of what ``--audit`` names, and note what is left out.

    Args:
        reference: what ``--audit`` names.
        fitted: digests of the images that the model is fitted to.
        progress: receives the notes.

    Raises:
        DataError: a part has no label, none is good, or the model is fitted to all of them.
    """
    where = f"--audit {reference}"
    loaded = load_data(reference, {}, all_good=True)
    say(loaded.splits.left_out, progress.note)
    samples = [*loaded.splits.train, *loaded.splits.test, *loaded.splits.validation]
    unlabelled = [sample for sample in samples if sample.label is None]
    if unlabelled:
        raise DataError(
            f"{where}: {len(unlabelled)} of {len(samples)} images have no label, such as {unlabelled[0].image.name}; "
            "an audit takes parts that were all looked at, in a folder 'good' and folders of defects, or a table."
        )
    digests = digests_of([sample.image for sample in samples], skip_unreadable=True)
    guarded = guard(samples, digests, fitted, where, "give parts that were drawn from the line since")
    for line in guarded.notes(where):
        progress.note(line)
    kept = list(guarded.kept)
    good = [sample.image for sample in kept if sample.label == "good"]
    if not good:
        raise DataError(f"{where}: has no good images; give all parts that were drawn, the good ones too.")
    given = GoodImages(list(items_of(good)), loaded.reference or "", loaded.splits, guarded.left_out)
    return Drawn(kept, digests_of([sample.image for sample in kept], skip_unreadable=True), given)
