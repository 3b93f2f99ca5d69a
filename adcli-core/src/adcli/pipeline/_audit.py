"""Parts that were drawn at random from the line and looked at: the good ones calibrate, and all of them audit."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adcli.data.guarding import digests_of, guard, keep_whole
from adcli.data.left_out import say
from adcli.data.part_rule import PartRule, Scored, join_scored, refuse_more_views
from adcli.data.references import load_data
from adcli.data.samples import Sample
from adcli.data.source import items_of
from adcli.errors import DataError, OptionError
from adcli.pipeline._good_images import GoodImages
from adcli.progress import Progress
from adcli.scoring.audits import Audit
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
        known = {sample.image: sample for sample in self.samples}
        tracked = progress.track(scorer.source.stream(items_of(known)), len(known), "auditing")
        scored = score_joined(scorer.runtime, tracked, scorer.batch_size, calibration)
        joined = join_scored(
            (_tell_part(known[item.path]), Scored(score, known[item.path].label == "defect")) for item, score in scored
        )
        return np.array([one.score for one in joined]), np.array([one.is_defect for one in joined], bool)

    def _set(self, calibration: Calibration) -> bool:
        """Tell whether some of the parts set the threshold; of one by F1, the labelled images are not known."""
        if calibration.method == "f1":
            return True
        return calibration.keeps_a_rate and not {*calibration.scored_digests}.isdisjoint({*self.digests} - {""})


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


def _tell_part(sample: Sample) -> str | Path:
    return sample.part or sample.image


def read_drawn(reference: str, fitted: Collection[str], rule: PartRule | None, progress: Progress) -> Drawn:
    """Return the labelled parts of what ``--audit`` names, and note what is left out.

    Args:
        reference: what ``--audit`` names.
        fitted: digests of the images that the model is fitted to.
        rule: how parts are told; None if each photograph is one.
        progress: receives the notes.

    Raises:
        OptionError: the images name no parts.
        DataError: a part has no label, none is good, or the model is fitted to all of them.
    """
    where = f"--audit {reference}"
    loaded = load_data(reference, {}, all_good=True, part=rule.pattern if rule else "")
    say(loaded.splits.left_out, progress.note)
    splits = loaded.splits
    samples = [*splits.train, *splits.defects, *splits.test, *splits.validation]
    unlabelled = [sample for sample in samples if sample.label is None]
    if unlabelled:
        raise DataError(
            f"{where}: {len(unlabelled)} of {len(samples)} images have no label, such as {unlabelled[0].image.name}; "
            "an audit takes parts that were all looked at, in a folder 'good' and folders of defects, or a table."
        )
    refuse_more_views(samples, rule)
    digests = digests_of([sample.image for sample in samples], skip_unreadable=True)
    guarded = guard(samples, digests, fitted, where, "give parts that were drawn from the line since")
    for line in guarded.notes(where):
        progress.note(line)
    kept = _keep_whole_parts(samples, guarded.kept, rule, where)
    if len(kept) < len(guarded.kept):
        progress.note(
            f"{where}: left out {len(guarded.kept) - len(kept)} other images: of parts that those show, or that lack a "
            "view, and are not accepted."
        )
    defective = {_tell_part(sample) for sample in kept if sample.label == "defect"}
    good = [sample for sample in kept if _tell_part(sample) not in defective]
    if not good:
        raise DataError(f"{where}: has no good images; give all parts that were drawn, the good ones too.")
    part_of = {sample.image: sample.part for sample in good if rule and sample.part}
    items = list(items_of(sample.image for sample in good))
    given = GoodImages(items, loaded.reference or "", loaded.splits, guarded.left_out, part_of)
    return Drawn(kept, digests_of([sample.image for sample in kept], skip_unreadable=True), given)


def _keep_whole_parts(samples: list[Sample], kept: Sequence[Sample], rule: PartRule | None, where: str) -> list[Sample]:
    """Return what is kept of parts that are whole and lack no view; without parts, each photograph is one."""
    if rule is None:
        return [replace(sample, part="") for sample in kept]
    part_of = {sample.image: sample.part for sample in samples if sample.part}
    if not part_of:
        raise OptionError(f"{where}: its images name no parts; say which they show with --part.")
    whole = set(keep_whole([sample.image for sample in kept], list(part_of), part_of))
    views = Counter(_tell_part(sample) for sample in kept if sample.image in whole)
    return [sample for sample in kept if sample.image in whole and views[_tell_part(sample)] >= rule.views]
