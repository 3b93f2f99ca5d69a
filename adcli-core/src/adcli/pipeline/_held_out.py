"""The photographs that a run or an export was not fitted to: good ones, and defects among its test images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adcli.data.fingerprint import fingerprint, relative_names
from adcli.data.folder import images_in
from adcli.data.guarding import digests_of, guard, keep_whole
from adcli.data.references import load_data
from adcli.data.samples import Sample, Splits
from adcli.errors import AdcliError, DataError, RunError
from adcli.exports.export import Export
from adcli.pipeline._recalibrate import fitted_to
from adcli.progress import Progress
from adcli.runs.calibrations import read_kept
from adcli.runs.images import read_images
from adcli.runs.run import Run, blaming
from adcli.runs.settings import parse_calibration

MOST = 120
"""Good photographs that are used, so that each defect of a test may be drawn into one of its own."""


@dataclass(frozen=True)
class HeldOut:
    """Photographs that a model was not fitted to.

    Attributes:
        good: files of good ones.
        names: of these, without the folders they have in common.
        digests: of these files.
        defects: samples with defects.
        source: where they come from, in words.
        total: how many good ones there are, of which these were chosen.
    """

    good: Sequence[Path]
    names: Sequence[str]
    digests: Sequence[str]
    defects: Sequence[Sample]
    source: str
    total: int

    @property
    def fingerprint(self) -> str:
        """One digest over names and contents of the good ones."""
        return fingerprint(self.good, self.digests)


def find_held_out(opened: Run | Export, data: str | None, seed: int, progress: Progress) -> HeldOut:
    """Return the photographs of ``--data``, or else those that calibrated a run and its test images.

    Args:
        opened: a run or an export.
        data: what ``--data`` names.
        seed: chooses some of many.
        progress: is told what is left out.

    Raises:
        DataError: there are no good ones that the model was not fitted to.
        RunError: an export lies in no run, and no data are given.
    """
    parts = opened.calibration.parts
    pattern = "" if parts is None else parts.pattern
    if data is not None:
        splits = load_data(data, {}, all_good=True, part=pattern).splits
        good, where, source = _list_good(splits), f"--data {data}", f"good photographs of {data}"
    else:
        run = _find_run(opened)
        splits, good = _of_run(run, pattern, progress)
        where, source = f"{run.path}", "good photographs that calibrated the run, or are among its test images"
    if not good:
        raise DataError(f"{where}: has no good photographs that the model is not fitted to; give some with --data DIR.")
    digests = digests_of(good, skip_unreadable=True)
    guarded = guard(good, digests, fitted_to(opened), where, "give good photographs that it has not seen with --data")
    for line in guarded.notes(where):
        progress.note(line)
    samples = (*splits.train, *splits.test, *splits.validation)
    part_of = {sample.image: sample.part for sample in samples if parts is not None and sample.part}
    kept = keep_whole(guarded.kept, good, part_of)
    if not kept:
        raise DataError(f"{where}: the model is fitted to a photograph of each part; give others with --data DIR.")
    chosen = _choose(kept, seed)
    known = dict(zip(good, digests, strict=True))
    defects = [sample for sample in (*splits.test, *splits.validation) if sample.label == "defect"]
    return HeldOut(chosen, relative_names(chosen), [known[path] for path in chosen], defects, source, len(kept))


def _list_good(splits: Splits) -> list[Path]:
    samples = (*splits.train, *splits.test, *splits.validation)
    return [sample.image for sample in samples if sample.label == "good"]


def _choose(paths: Sequence[Path], seed: int) -> list[Path]:
    """Return at most :data:`MOST` of some photographs, in their order."""
    if len(paths) <= MOST:
        return list(paths)
    chosen = np.random.default_rng(seed).choice(len(paths), MOST, replace=False)
    return [paths[number] for number in sorted(chosen.tolist())]


def _find_run(opened: Run | Export) -> Run:
    """Return a run, or the one that an export lies in."""
    if isinstance(opened, Run):
        return opened
    try:
        run = Run.open(opened.path.absolute().parent.parent)
    except AdcliError:
        run = None
    if run is None or run.record["weights"] != opened.manifest["run"]["weights"]:
        raise RunError(f"{opened.path}: lies in no run that knows its photographs; give good ones with --data DIR.")
    return run


def _of_run(run: Run, pattern: str, progress: Progress) -> tuple[Splits, list[Path]]:
    """Return the data of a run, and its good photographs that were held out, calibrated or tested."""
    with blaming(run.path, "data_options"):
        splits = load_data(run.settings["data"], dict(run.settings["data_options"]), part=pattern).splits
    apart = parse_calibration(str(run.settings["calibration"]))
    beside = images_in([apart]) if isinstance(apart, Path) else ()
    learnt = [sample.image for sample in load_updates(run, pattern, progress)]
    good = [*_list_good(splits), *beside, *learnt, *_of_calibration(run, progress)]
    used = {image.digest for image in read_images(run.path) if image.role in ("held-out", "calibration", "test")}
    used |= set(run.calibration.digests)
    paths = list(dict.fromkeys(good))
    digests = digests_of(paths, skip_unreadable=True)
    return splits, [path for path, digest in zip(paths, digests, strict=True) if digest in used]


def load_updates(run: Run, pattern: str, progress: Progress) -> list[Sample]:
    """Return the good images of the data that a run was updated with, as far as they are there."""
    found: list[Sample] = []
    for step in run.record.get("updates", ()):
        try:
            data = load_data(step["data"], dict(step["data_options"]), all_good=True, part=pattern)
        except AdcliError as error:
            progress.note(f"warning: images that {run.name} learnt in an update are not there: {error.message}")
        else:
            found += data.splits.train
    return found


def _of_calibration(run: Run, progress: Progress) -> list[Path]:
    """Return the good photographs of the data that ``adcli calibrate`` was given last."""
    try:
        data = read_kept(run.path, run.calibration.number).data
        return _list_good(load_data(data, {}, all_good=True).splits) if data else []
    except (DataError, RunError) as error:
        progress.note(f"warning: the photographs that set the threshold are left out: {error.message}")
        return []
