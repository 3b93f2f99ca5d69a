"""Exporting: from a finished run to a folder that scores without torch, and says how far it is from the run."""

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from adcli import __version__
from adcli._files import file_digest, publish, seal, storing, write_atomically
from adcli._plugins.registry import Provided, registry
from adcli.data.decoding import Pixels, Size, resize
from adcli.data.fingerprint import fingerprint
from adcli.data.framing import PLAIN, Framing, read_part
from adcli.data.references import load_data
from adcli.data.samples import Label, Sample, Splits
from adcli.data.source import ImageSource
from adcli.errors import AdcliError, DataError, ExportError, PluginError, StorageError, one_line
from adcli.exports.agreement import Tolerance, compare, disagreement, judge, speeds
from adcli.exports.export import FORMAT, MANIFEST_FILE, Export, ExportSource
from adcli.nn.runtime import ModelRuntime
from adcli.options import Options
from adcli.pipeline._building import checked_images
from adcli.pipeline._open import framing_of
from adcli.pipeline._plan import plan_calibration
from adcli.pipeline._restore import Restored, restore
from adcli.pipeline.settings import BATCH_SIZE
from adcli.progress import Progress, Silent
from adcli.runs.run import CALIBRATION_FILE, Run
from adcli.scoring.calibrating import CalibrationPlan, calibrate
from adcli.scoring.calibration import Calibration
from adcli.scoring.runtime import Runtime, cores, guarded
from adcli.scoring.scorer import score_images
from adcli.specs import ExporterSpec, Task

COMPARED = 50
"""Images, at most, that are scored by both the run's model and the exported graph."""

RANKED = 200
"""As many where it matters how well the graph ranks them."""

_FACTS = frozenset({"name", "file", "precision", "inputs", "outputs", "tolerance"})
_GIVE_DATA = "give good images that the model has not seen with --data DIR"


@dataclass(frozen=True)
class Evidence:
    """The images that an export is calibrated on and compared with its run on.

    Attributes:
        plan: which images calibrate, and how.
        compared: what both score; as many of it as it takes.
        source: decodes images to the model's size.
        own: whether the plan is the run's, so that its calibration is that of the same images.
    """

    plan: CalibrationPlan
    compared: Sequence[Sample]
    source: ImageSource
    own: bool = True


@dataclass(frozen=True)
class Original:
    """The run that is exported, as everything below needs it.

    Attributes:
        source: what the exporter gets.
        task: what the model does.
        model_name: the name of its spec.
    """

    source: ExportSource
    task: Task
    model_name: str

    @property
    def run(self) -> Run:
        """The run."""
        return self.source.run

    @property
    def runtime(self) -> ModelRuntime:
        """The run's model, as what scores images of its size."""
        return ModelRuntime(self.source.model, torch.device("cpu"))


def export(
    run: Run,
    to: str,
    options: Mapping[str, Any] | None = None,
    *,
    out: Path | None = None,
    data: str | None = None,
    workers: int = 2,
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
        progress: receives progress and notes.

    Raises:
        ExportError: the graph's scores or verdicts differ from the run's by more than the exporter's tolerance.
        DataError: the run's images are gone or changed, and ``data`` is not given.
        PluginError: the exporter fails. Whatever is raised, no folder is left behind.
    """
    progress = progress or Silent()
    provided = registry().exporters[to]
    parsed = provided.spec.options.parse(dict(options or {}))
    final = out or run.path / "exports" / provided.spec.name
    if final.exists():
        raise StorageError(f"--out {final}: exists already; choose another folder or remove it.")
    restored = restore(run)
    evidence = _evidence(run, restored, data, workers, progress)
    source = ExportSource(run, restored.model, restored.size, lambda: _parts(_good(evidence.plan), evidence.source))
    return write_export(
        provided, parsed, Original(source, restored.spec.task, restored.spec.name), evidence, final, progress
    )


def _parts(images: Sequence[Path], source: ImageSource) -> Iterator[Pixels]:
    return (read_part(image, source.size, source.framing) for image in images)


def _good(plan: CalibrationPlan) -> Sequence[Path]:
    return plan.good or plan.fit


def _evidence(run: Run, restored: Restored, data: str | None, workers: int, progress: Progress) -> Evidence:
    skip = restored.settings.skip_unreadable
    source = ImageSource(restored.size, workers=workers, cache_bytes=0, skip_unreadable=skip, framing=framing_of(run))
    if data is not None:
        splits = load_data(data, {}).splits
        plan = _plan_on_other_data(run, [sample.image for sample in splits.train])
        return Evidence(plan, _compared(splits, plan), source, own=False)
    if run.calibration.given is not None:
        raise DataError(f"{run.path}: was calibrated with other images since; give the same ones with --data.")
    try:
        splits, plan = _own_images(run, restored, source, workers, progress)
        # 'adcli calibrate' may have changed it.
        plan = replace(plan, rate=run.calibration.rate)
    except DataError as error:
        raise DataError(f"{run.path}: its images cannot be used ({error.message.rstrip('.')}); {_GIVE_DATA}.") from None
    return Evidence(plan, _compared(splits, plan), source)


def _own_images(
    run: Run, restored: Restored, source: ImageSource, workers: int, progress: Progress
) -> tuple[Splits, CalibrationPlan]:
    """Derive the run's images again; raises :class:`DataError` where they are not those of the run."""
    settings, recorded = restored.settings, run.record["data"]
    data = load_data(settings.data, settings.data_options)
    train = [sample.image for sample in data.splits.train]
    images = checked_images(train, restored.spec, settings, source, progress)
    if fingerprint(images, workers) != recorded["fingerprint"]:
        raise DataError(f"{data.reference or data.name}: the training images have changed since")
    plan = plan_calibration(settings, restored.spec, data.splits, images)
    if len(plan.good) != recorded["held_out"]:
        raise DataError(f"{settings.calibration}: the calibration images have changed since")
    return data.splits, plan


def _plan_on_other_data(run: Run, images: Sequence[Path]) -> CalibrationPlan:
    calibration, rate = run.calibration, run.calibration.rate
    if calibration.method == "none":
        return CalibrationPlan(images, [], [], "none", rate)
    given = calibration.image_threshold if calibration.method in ("value", "f1") else None
    return CalibrationPlan([], images, [], "folder" if given is None else "value", rate, given)


def _compared(splits: Splits, plan: CalibrationPlan) -> Sequence[Sample]:
    """Return what did not calibrate, where there is any."""
    return splits.test or [Sample(image, "good") for image in _good(plan)]


def _spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Choose samples evenly, so that there are some of each kind of defect."""
    count = min(count, len(samples))
    return [samples[i * len(samples) // count] for i in range(count)]


def write_export(
    provided: Provided[ExporterSpec],
    options: Options,
    original: Original,
    evidence: Evidence,
    final: Path,
    progress: Progress,
) -> Export:
    """Have the exporter write its graph, check and calibrate what was written, and give the folder its name.

    Raises:
        AdcliError: as :func:`export`; no folder is left behind.
    """
    with _in_the_making(final) as folder:
        manifest, runtime = write_graph(provided, options, original, folder)
        calibration, map_range = _calibrate(original, runtime, evidence, progress)
        manifest |= {
            "calibration": _summary(calibration, evidence.plan),
            "measured": measure(original, runtime, calibration, evidence, tolerance_of(manifest["graph"]), progress),
        }
        finish(folder, manifest, calibration, map_range, evidence.source.framing)
        del runtime
    return Export.open(final)


def write_graph(
    provided: Provided[ExporterSpec], options: Options, original: Original, folder: Path
) -> tuple[dict[str, Any], Runtime]:
    """Have the exporter write its graph into a folder; returns what is known for the manifest, and the graph loaded.

    Raises:
        PluginError: the exporter fails, or returns facts that cannot be used.
    """
    manifest = _describe(provided, options, original, _facts(provided, options, original.source, folder))
    load: Callable[[Export], Runtime] = provided.load(provided.spec.runtime)
    unfinished = Export(folder, manifest, original.run.calibration)
    # From the files, so that what is checked is what was written.
    return manifest, guarded(lambda: load(unfinished), f"exporter '{provided.spec.name}' of {provided.plugin}")


def finish(
    folder: Path,
    manifest: dict[str, Any],
    calibration: Calibration,
    map_range: tuple[float, float],
    framing: Framing = PLAIN,
) -> None:
    """Write calibration, preparation and manifest, with the digest of every file, beside a graph."""
    height, width = manifest["image_size"]
    for name, data in framing.files((height, width)).items():
        write_atomically(folder / name, data)
    write_atomically(folder / CALIBRATION_FILE, calibration.to_json())
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    thresholds = {"image": calibration.image_threshold, "pixel": calibration.pixel_threshold}
    digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in files}
    content = {**manifest, "map_range": list(map_range), "thresholds": thresholds, "files": digests}
    write_atomically(folder / MANIFEST_FILE, seal(content))


@contextlib.contextmanager
def _in_the_making(final: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes ``final`` at the end, or leaves nothing behind after an error."""
    made = [folder for folder in final.parents if not folder.exists()]
    temporary = final.with_name(f".{final.name}.partial")
    try:
        with storing(final):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        yield temporary
        publish(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise


def _facts(provided: Provided[ExporterSpec], options: Options, source: ExportSource, folder: Path) -> dict[str, Any]:
    who = f"exporter '{provided.spec.name}' of {provided.plugin}"
    write = provided.load(provided.spec.target)
    try:
        facts = write(source, folder, options)
    except AdcliError:
        raise
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}; free space or choose another.") from None
    except Exception as error:
        reason = one_line(error)
        raise PluginError(f"{who} failed ({reason}).") from error
    try:
        plain = json.loads(json.dumps(facts))
        problem = _problem(plain, folder)
    except (TypeError, ValueError) as error:
        problem = f"they are no plain values ({error})"
    if problem:
        raise PluginError(f"{who} returned facts that cannot be used: {problem}.")
    return dict(plain)


def _problem(facts: Any, folder: Path) -> str:
    """Return what is wrong with an exporter's facts, or nothing."""
    if not isinstance(facts, dict) or not facts.keys() >= _FACTS:
        return f"it takes a dictionary with {', '.join(sorted(_FACTS))}"
    text = json.dumps(facts)
    if str(folder.resolve()) in text or str(Path.home()) + os.sep in text:
        return "they hold a path of this machine"
    if not (folder / str(facts["file"])).is_file():
        return f"the file '{facts['file']}' was not written"
    for name in ("tolerance", "auroc_drop"):
        value = facts.get(name)
        if (name in _FACTS or value is not None) and not (isinstance(value, (int, float)) and value > 0):
            return f"{name} is {value!r}"
    return ""


def _describe(
    provided: Provided[ExporterSpec], options: Options, original: Original, facts: dict[str, Any]
) -> dict[str, Any]:
    run, plugin = original.run, provided.plugin
    return {
        "format": FORMAT,
        "core": __version__,
        "exporter": provided.spec.name,
        "plugin": {"distribution": plugin.distribution, "version": plugin.version},
        "options": options.to_dict(),
        "model": original.model_name,
        "run": {"name": run.path.resolve().name, "weights": run.record["weights"]},
        "task": original.task,
        "image_size": list(original.source.image_size),
        "graph": facts,
    }


def _summary(calibration: Calibration, plan: CalibrationPlan) -> dict[str, Any]:
    return {
        "method": calibration.method,
        "images": calibration.n,
        "rate": calibration.rate,
        "achievable_rate": calibration.achievable_rate,
        "scored_by": "run" if plan.folds else "export",
    }


def _calibrate(
    original: Original, runtime: Runtime, evidence: Evidence, progress: Progress
) -> tuple[Calibration, tuple[float, float]]:
    """Set the export's thresholds with scores of the exported graph; also return the ends of the colour scale."""
    run, plan = original.run, evidence.plan
    if plan.folds:
        # Every image fitted the model that is exported; the folds' models are gone.
        progress.note("calibrated in folds: the export keeps the run's thresholds.")
        low, high = run.record["map_range"]
        return run.calibration, (low, high)
    return calibrate(plan, runtime, evidence.source, batch_size=BATCH_SIZE, progress=progress)


def _good_range(calibration: Calibration, runtime: Runtime, evidence: Evidence) -> float:
    """Return the range of good scores; of fitted images where none were held out."""
    scores = list(calibration.image_scores)
    if not scores:
        fitted = evidence.plan.fit[:COMPARED]
        scores = [image.score for image in score_images(runtime, fitted, evidence.source, batch_size=BATCH_SIZE)]
    return max(scores) - min(scores)


def measure(
    original: Original,
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
    reference = original.run.calibration
    if not evidence.own:
        # Thresholds can only be compared where they come from the same images.
        reference, _ = calibrate(
            evidence.plan, original.runtime, evidence.source, batch_size=BATCH_SIZE, progress=progress
        )
    size = original.source.image_size
    samples = _spread(evidence.compared, COMPARED if tolerance.auroc_drop is None else RANKED)
    images = progress.track(_of_other_sizes(_readable(samples, evidence.source), size), len(samples), "comparing")
    comparison = compare(original.runtime, runtime, images, size)
    good_range = _good_range(calibration, runtime, evidence)
    measured = judge(comparison, good_range, reference.image_threshold, calibration.image_threshold, tolerance)
    problem = disagreement(measured)
    if problem:
        raise ExportError(
            f"the exported graph is not equal to {original.run.path}: {problem}; nothing was kept. "
            "Other options may do better, see 'adcli exporters show'."
        )
    some = itertools.islice(_readable(samples, evidence.source), BATCH_SIZE)
    pixels = [resize(image, size) for image, _ in some]
    with _all_cores():
        return {**measured, "speed": speeds(original.runtime, runtime, pixels)}


def tolerance_of(facts: Mapping[str, Any]) -> Tolerance:
    """Return what an exporter's facts allow."""
    drop = facts.get("auroc_drop")
    return Tolerance(float(facts["tolerance"]), None if drop is None else float(drop))


def _readable(samples: Sequence[Sample], source: ImageSource) -> Iterator[tuple[Pixels, Label | None]]:
    for sample in samples:
        try:
            yield read_part(sample.image, source.size, source.framing), sample.label
        except DataError:
            if not source.skip_unreadable:
                raise


def _of_other_sizes(images: Iterator[tuple[Pixels, Label | None]], size: Size) -> Iterator[tuple[Pixels, Label | None]]:
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
