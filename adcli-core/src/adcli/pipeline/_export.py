"""Exporting: from a finished run to a folder that scores without torch, and says how far it is from the run."""

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adcli._commands import quote
from adcli._files import is_text
from adcli._plugins.registry import registry
from adcli.data.decoding import Pixels, Size, resize
from adcli.data.fingerprint import fingerprint
from adcli.data.references import TABLE, load_data
from adcli.data.samples import Label, Sample, Splits
from adcli.data.source import ImageSource, Item, items_of
from adcli.errors import DataError, ExportError, OptionError, RunError, one_line
from adcli.exports.agreement import Comparison, Tolerance, compare, disagreement, judge, speeds
from adcli.exports.export import Export, ExportSource
from adcli.exports.writing import keep_first, new_folder, seal_folder, write_graph
from adcli.nn.runtime import ModelRuntime
from adcli.pipeline._building import read_good_images
from adcli.pipeline._good_images import GoodImages, find_again, read_given
from adcli.pipeline._plan import plan_calibration
from adcli.pipeline._recalibrate import note_doubt
from adcli.progress import Progress, Silent
from adcli.runs.calibrations import KeptCalibration, is_first, now, read_kept
from adcli.runs.images import fitted_digests, read_images
from adcli.runs.run import EXPORTS, Run, blaming
from adcli.runs.settings import BATCH_SIZE, NOT_SETTINGS, TrainSettings
from adcli.scoring.calibration import Calibration
from adcli.scoring.parts import of_one_zone, of_parts
from adcli.scoring.runtime import Runtime, cores
from adcli.scoring.scorer import score_inputs
from adcli.scoring.thresholds import CalibrationPlan, calibrate
from adcli.specs import ModelSpec

COMPARED = 50
"""Images, at most, that are scored by both the run's model and the exported graph."""

RANKED = 200
"""As many if it matters how well the graph ranks them."""

MOST_PARTS, FEWEST = 16, 8
"""With more tiles and zones than that, fewer photographs are compared, but as many as that."""


@dataclass(frozen=True)
class Evidence:
    """The images that an export is calibrated on and compared with its run on.

    Attributes:
        plan: which images calibrate, and how.
        compared: what both score; as many of it as it takes.
        source: decodes images to the model's size.
        own: whether the plan is the run's, so that its calibration is that of the same images.
        left_out: number of images that were not let calibrate, by reason.
    """

    plan: CalibrationPlan
    compared: Sequence[Sample]
    source: ImageSource
    own: bool = True
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def good(self) -> Sequence[Item]:
        """Good images: those that calibrate, or else those that were fitted."""
        return self.plan.good or self.plan.fit


def export(
    run: Run,
    to: str,
    options: Mapping[str, Any] | None = None,
    *,
    out: Path | None = None,
    data: str | None = None,
    workers: int = 2,
    force: bool = False,
    progress: Progress | None = None,
) -> Export:
    """Export a run, check the written files against it, and calibrate them.

    Args:
        run: a finished run.
        to: an exporter's name.
        options: its options.
        out: the exported folder itself; ``exports/NAME`` in the run's folder when None.
        data: good images to calibrate and compare on, instead of those of the run.
        workers: threads that decode images.
        force: replace an export that has the folder's name, in one step.
        progress: receives progress and notes.

    Raises:
        StorageError: the folder exists, and is no export that is to be replaced.
        ExportError: the graph's scores or verdicts differ from the run's by more than the exporter's tolerance.
        DataError: the run's images are gone or changed, and ``data`` is not given.
        PluginError: the exporter fails. Whatever is raised, no folder is left behind.
    """
    progress = progress or Silent()
    provided = registry().exporters[to]
    parsed = provided.spec.options.parse(dict(options or {}))
    final = _check_text(out or run.path / EXPORTS / provided.spec.name)
    with new_folder(final, run=run.path, replace=force) as folder:
        model = run.restore()
        spec = registry().models.find_maker(run.record["model"], run.record["plugin"], run.path).spec
        evidence = _gather_evidence(run, spec, data, workers, progress)
        source = ExportSource(run, model, spec.task, run.image_size, lambda: _inputs(evidence.good, evidence.source))
        manifest, runtime = write_graph(provided, parsed, source, folder)
        calibration = _calibrate(source, runtime, evidence, progress)
        tolerance = read_tolerance(manifest["graph"])
        manifest["measured"] = measure(source, runtime, calibration, evidence, tolerance, progress)
        seal_folder(folder, manifest, calibration, run.framing, fitted_digests(run.path))
        command = _describe_command(run, to, options or {}, out, data)
        tested = _count_tested(run, calibration)
        keep_first(folder, kept := KeptCalibration(calibration, now(), command, "", evidence.left_out, tested))
        note_doubt(kept, progress)
        del runtime
    return Export.open(final)


def _check_text(folder: Path) -> Path:
    if not is_text(folder.absolute()):
        raise OptionError(f"{folder}: is no UTF-8, which what writes graphs needs; give another.", option="--out")
    return folder


def _describe_command(run: Run, to: str, options: Mapping[str, Any], out: Path | None, data: str | None) -> str:
    """Return the command as it would be typed where the run, the data and the export lie beside each other.

    An export holds no path of the machine that wrote it.
    """
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    if data is not None:
        kind = TABLE if data.startswith(TABLE) else ""
        words += ["--data", kind + Path(os.path.abspath(data.removeprefix(kind))).name]  # noqa: PTH100
    if out is not None:
        words += ["--out", out.absolute().name]
    return quote("adcli", "export", run.name, "--to", to, *words)


def _count_tested(run: Run, calibration: Calibration) -> int:
    """Return how many of the images that set the threshold of an export are test images of its run."""
    if not calibration.keeps_a_rate:
        return 0
    tested = {image.digest for image in read_images(run.path) if image.role == "test"}
    return sum(digest in tested for digest in calibration.scored_digests)


def _inputs(items: Sequence[Item], source: ImageSource) -> Iterator[Pixels]:
    """Yield images as the graph gets them: framed, at their own size, or tiles of the model's size."""
    for item in items:
        yield from itertools.chain.from_iterable(_cut(piece, source) for piece in _frame(item, source))


def _frame(item: Item, source: ImageSource) -> list[Pixels]:
    """Return what is looked at of each zone of an image: at its own size, or resized to the canvas of its tiles."""
    photograph, framing = source.open(item), source.framing
    if len(framing.tiling) > 1:
        return np.split(source.fit(photograph).pixels, len(framing.of_zones))
    return [one.cut(photograph.pixels, source.size, photograph.name, photograph.view) for one in framing.of_zones]


def _cut(piece: Pixels, source: ImageSource) -> Iterator[Pixels]:
    """Yield the tiles of a canvas, or the image itself if there are none."""
    tiling = source.framing.tiling
    yield from [piece] if len(tiling) == 1 else (tiling.cut(piece, source.size, i) for i in range(len(tiling)))


def _gather_evidence(run: Run, spec: ModelSpec, data: str | None, workers: int, progress: Progress) -> Evidence:
    """Choose the images to calibrate on and to compare with: the run's own, or those of ``--data``."""
    settings = TrainSettings.parse({name: value for name, value in run.settings.items() if name not in NOT_SETTINGS})
    source = ImageSource(
        run.image_size,
        workers=workers,
        cache_bytes=0,
        skip_unreadable=settings.skip_unreadable,
        framing=run.framing,
    )
    if data is not None:
        given = read_given(data, fitted_digests(run.path), progress, run.calibration.parts)
        plan = _plan_on_other_data(run, given)
        return Evidence(plan, _compared(given.splits, plan), source, own=False, left_out=given.left_out)
    if run.calibration.given is not None:
        splits, plan = _find_given_images(run)
    else:
        splits, plan = _find_own_images(run, settings, spec, source, progress)
    plan = _as_calibrated_since(run, plan)
    return Evidence(plan, _compared(splits, plan), source)


def _find_given_images(run: Run) -> tuple[Splits, CalibrationPlan]:
    """Find the images again that 'adcli calibrate' was given."""
    calibration, reference = run.calibration, "images that are not recorded"
    plan = CalibrationPlan(
        method="folder", rate=calibration.rate, confidence=calibration.confidence, parts=calibration.parts
    )
    try:
        reference = one_line(read_kept(run.path, calibration.number).data)
        pattern = "" if plan.parts is None else plan.parts.pattern
        splits = load_data(reference, {}, all_good=True, part=pattern).splits
        # Those of an audit may lie anywhere among its parts.
        labelled = [*splits.train, *splits.test, *splits.validation]
        images = [sample.image for sample in labelled if sample.label == "good"]
        good = find_again(list(items_of(images)), calibration.scored_digests)
    except (DataError, RunError) as error:
        known = f", such as {one_line(calibration.images[0])}," if calibration.images else ""
        raise DataError(
            f"{run.path}: was calibrated since with {calibration.n} images of {reference}{known} which cannot be used "
            f"({error.message.rstrip('.')}); give them, or other good images that the model has not seen, with --data "
            "DIR."
        ) from None
    part_of = {sample.image: sample.part for sample in splits.train if plan.parts and sample.part}
    return splits, replace(plan, good=good, part_of=part_of)


def _find_own_images(
    run: Run, settings: TrainSettings, spec: ModelSpec, source: ImageSource, progress: Progress
) -> tuple[Splits, CalibrationPlan]:
    """Derive the run's images again; raises :class:`DataError` if they are not those of the run."""
    try:
        with blaming(run.path, "data_options"):
            data = load_data(settings.data, settings.data_options, part=settings.part or "")
        items, digests = read_good_images(data.splits, spec, source, progress)
        if fingerprint([item.path for item in items], digests) != run.record["data"]["fingerprint"]:
            raise DataError(f"{data.reference or data.name}: the training images have changed since")
        plan = plan_calibration(settings, spec, data.splits, items, digests, progress)
        if plan.good:
            # Some could not be read, perhaps.
            plan = replace(plan, good=find_again(plan.good, run.calibration.scored_digests))
    except DataError as error:
        raise DataError(
            f"{run.path}: its images cannot be used ({error.message.rstrip('.')}); give good images that the model has "
            "not seen with --data DIR."
        ) from None
    return data.splits, plan


def _as_calibrated_since(run: Run, plan: CalibrationPlan) -> CalibrationPlan:
    """Return the plan with the rate and the kind of threshold that 'adcli calibrate' may have set."""
    calibration = run.calibration
    plan = replace(plan, rate=calibration.rate, confidence=calibration.confidence)
    if plan.method == calibration.method and (plan.method != "f1" or _is_first(run)):
        return plan
    chosen_by = plan.method if plan.chosen_by == "none" else plan.chosen_by
    value = None if calibration.keeps_a_rate else calibration.image_threshold
    return replace(
        plan, method=chosen_by if value is None else "value", chosen_by=chosen_by, value=value, validation=()
    )


def _is_first(run: Run) -> bool:
    """Tell whether the calibration in force is that of the training."""
    try:
        return is_first(run.path, run.calibration.number)
    except RunError:
        return False


def _plan_on_other_data(run: Run, given: GoodImages) -> CalibrationPlan:
    calibration = run.calibration
    promised = CalibrationPlan(
        method="none", rate=calibration.rate, confidence=calibration.confidence, parts=calibration.parts
    )
    if calibration.method == "none":
        return replace(promised, fit=given.items)
    value = calibration.image_threshold if calibration.method in ("value", "f1") else None
    return replace(
        promised,
        method="folder" if value is None else "value",
        good=given.items,
        value=value,
        chosen_by="folder",
        part_of=given.part_of,
    )


def _compared(splits: Splits, plan: CalibrationPlan) -> Sequence[Sample]:
    """Return what did not calibrate, if there is any."""
    return splits.test or [Sample(item.path, "good") for item in plan.good or plan.fit]


def _calibrate(source: ExportSource, runtime: Runtime, evidence: Evidence, progress: Progress) -> Calibration:
    """Set the export's thresholds and colours with scores of the exported graph, or of its tiles."""
    if evidence.plan.folds:
        # Every image fitted the model that is exported; the folds' models are gone.
        progress.note("calibrated in folds: the export keeps the run's thresholds.")
        found = source.run.calibration
    else:
        scoring = _looking(runtime, evidence)
        found = calibrate(evidence.plan, scoring, evidence.source, batch_size=BATCH_SIZE, progress=progress)
    if source.run.calibration.method == "f1" and found.method == "value":
        # What was found on labelled images after the training is taken over as a value.
        found = replace(found, method="f1")
    return replace(found, weights=source.run.record["weights"], number=1)


def measure(
    source: ExportSource,
    runtime: Runtime,
    calibration: Calibration,
    evidence: Evidence,
    tolerance: Tolerance,
    progress: Progress,
) -> dict[str, Any]:
    """Compare the graph with the run's model on images at their own sizes, and time both.

    Raises:
        ExportError: they differ by more than the tolerance.
    """
    original, reference = ModelRuntime(source.model, torch.device("cpu")), source.run.calibration
    framing = evidence.source.framing
    whole, exported = _looking(original, evidence), _looking(runtime, evidence)
    if not evidence.own:
        # Thresholds can only be compared if they come from the same images.
        reference = calibrate(evidence.plan, whole, evidence.source, batch_size=BATCH_SIZE, progress=progress)
    most = COMPARED if tolerance.auroc_drop is None else RANKED
    count = min(most, max(most * MOST_PARTS // framing.parts, FEWEST), len(evidence.compared))
    # Evenly, so that there are some of each kind of defect.
    samples = [evidence.compared[i * len(evidence.compared) // count] for i in range(count)]
    pieces, canvas = _read(samples, evidence.source), framing.tiling.find_canvas(source.image_size)
    if len(framing.tiling) == 1:
        pieces = _vary_sizes(pieces, source.image_size)
    images = progress.track(pieces, count * len(framing.of_zones), "comparing")
    comparison = compare(of_one_zone(whole), of_one_zone(exported), images, canvas)
    measured = _judge(comparison, exported, evidence, reference, calibration, tolerance)
    problem = disagreement(measured)
    if problem:
        raise ExportError(
            f"the exported graph is not equal to {source.run.path}: {problem}; nothing was kept. If that is close "
            "enough, allow more; other options of the exporter may do better."
        )
    some = (part for piece, _ in _read(samples, evidence.source) for part in _cut(piece, evidence.source))
    pixels = [resize(part, source.image_size) for part in itertools.islice(some, BATCH_SIZE)]
    with _all_cores():
        return {**measured, "speed": speeds(original, runtime, pixels)}


def _judge(
    comparison: Comparison,
    exported: Runtime,
    evidence: Evidence,
    reference: Calibration,
    calibration: Calibration,
    tolerance: Tolerance,
) -> dict[str, Any]:
    """Judge a comparison with the thresholds of both; of zones, each with its own."""
    if not calibration.zones:
        good_range = _range_of_good_scores(calibration, of_one_zone(exported), evidence)
        return judge(comparison, good_range, reference.image_threshold, calibration.image_threshold, tolerance)
    thresholds = [_list_thresholds(one) for one in (reference, calibration)]
    repeats = len(comparison.original) // len(calibration.zones)
    good_range = min(zone.image_scores[-1] - zone.image_scores[0] for zone in calibration.zones.values())
    beyond = [
        scores - np.tile(own, repeats)
        for scores, own in zip((comparison.original, comparison.exported), thresholds, strict=True)
    ]
    return judge(replace(comparison, original=beyond[0], exported=beyond[1]), good_range, 0.0, 0.0, tolerance)


def _list_thresholds(calibration: Calibration) -> list[float]:
    """Return the threshold of each zone."""
    assert calibration.image_threshold is not None
    return [zone.find_score(calibration.image_threshold) for zone in calibration.zones.values()]


def _looking(runtime: Runtime, evidence: Evidence) -> Runtime:
    return of_parts(runtime, evidence.source.framing, evidence.source.size)


def _range_of_good_scores(calibration: Calibration, runtime: Runtime, evidence: Evidence) -> float:
    """Return the range of good scores; of fitted images if none were held out."""
    scores = list(calibration.image_scores)
    if not scores:
        inputs = evidence.source.of_zones()[0].stream(evidence.plan.fit[:COMPARED])
        scores = [score for _, _, score, _ in score_inputs(runtime, inputs, BATCH_SIZE)]
    return max(scores) - min(scores)


def read_tolerance(facts: Mapping[str, Any]) -> Tolerance:
    """Return what an exporter's facts allow."""
    drop = facts.get("auroc_drop")
    return Tolerance(float(facts["tolerance"]), None if drop is None else float(drop))


def _read(samples: Sequence[Sample], source: ImageSource) -> Iterator[tuple[Pixels, Label | None]]:
    for sample in samples:
        try:
            pieces = _frame(Item(sample.image), source)
        except DataError:
            if not source.skip_unreadable:
                raise
        else:
            # Not every zone of a defective photograph has the defect.
            yield from ((piece, None if source.framing.zones else sample.label) for piece in pieces)


def _vary_sizes(images: Iterator[tuple[Pixels, Label | None]], size: Size) -> Iterator[tuple[Pixels, Label | None]]:
    """Pass images on, every second of those that have the model's size enlarged, so that resizing is always checked."""
    for i, (image, label) in enumerate(images):
        enlarge = image.shape[:2] == size and i % 2 == 1
        yield (resize(image, (size[0] * 5 // 4, size[1] * 4 // 3)) if enlarge else image), label


@contextlib.contextmanager
def _all_cores() -> Iterator[None]:
    """Have torch compute with as many threads as runtimes do, whatever it was told, so that speeds can be compared."""
    before = torch.get_num_threads()
    torch.set_num_threads(cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)
