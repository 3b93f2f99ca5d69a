"""Training: from settings to a finished run folder.

:func:`train` decides everything before it computes anything (:func:`_prepare`), and then fits, calibrates, evaluates
and finishes the run (:func:`fit_to_finish`). Of several processes that torchrun started, all fit, and the first alone
does the rest and says anything.
"""

import contextlib
import shutil
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from adcli import __version__, _system
from adcli._changes import inside
from adcli._commands import quote
from adcli._files import file_digest, seal, sync
from adcli._plugins.registry import Provided, registry
from adcli._process import torchrun
from adcli.data.decoding import Size
from adcli.data.fingerprint import fingerprint, relative_names
from adcli.data.framing import IGNORE_FILE, SMALLEST, ignored_digest, ignored_png, read_ignored
from adcli.data.left_out import say
from adcli.data.references import Data, load_data
from adcli.data.samples import count_labels
from adcli.data.source import ImageSource, Item
from adcli.data.survey import Survey, survey
from adcli.data.view import Look
from adcli.errors import (
    AdcliError,
    DataError,
    LackOfMemoryError,
    OptionError,
    PluginError,
    RunError,
    StorageError,
    is_out_of_memory,
    locate,
    one_line,
    refusal,
)
from adcli.nn.batches import Batches, Session
from adcli.nn.devices import make_repeatable, pick_device, pick_precision, repeatable
from adcli.nn.foreseeing import check_images, foreseeing
from adcli.nn.model import Model
from adcli.nn.restoring import build_model, load_tensors, restore_model
from adcli.nn.runtime import ModelRuntime
from adcli.options import Options
from adcli.pipeline._building import (
    ChosenOptions,
    choose_batch_size,
    choose_options,
    choose_sizes,
    name_absolutely,
    read_good_images,
)
from adcli.pipeline._finishing import Ending, Laps, conclude
from adcli.pipeline._inputs import Changes, Inputs, compare_inputs, list_inputs
from adcli.pipeline._job import BEGAN_WITH, Job, KeptFit, Trained
from adcli.pipeline._known_defects import choose_defects
from adcli.pipeline._manage import list_made
from adcli.pipeline._moved_images import describe_difference
from adcli.pipeline._plan import plan_calibration
from adcli.pipeline._threshold_picture import draw_threshold_image, draw_unlike_images
from adcli.pipeline._usable import keep_usable
from adcli.progress import Progress, Silent
from adcli.runs.calibrations import KeptCalibration, kept_files, now
from adcli.runs.find import find_interrupted
from adcli.runs.images import SeenImage, format_images, parse_images
from adcli.runs.partial import CHECKPOINTS, TRAINING_FILE, PartialRun, check_free
from adcli.runs.run import CALIBRATION_FILE, FORMAT, RUN_FILE, UPDATING_FILE, WEIGHTS_FILE, Run, blaming
from adcli.runs.settings import FIELDS, NOT_SETTINGS, TrainSettings, check_places, framing
from adcli.scoring.calibration import Calibration
from adcli.scoring.opened import Origin
from adcli.scoring.parts import of_parts
from adcli.scoring.runtime import Runtime
from adcli.scoring.scorer import Scorer
from adcli.scoring.thresholds import CalibrationPlan, calibrate
from adcli.specs import ModelSpec


@torchrun.joined()
def train(
    settings: TrainSettings, *, out: Path | None = None, progress: Progress | None = None, command: str = ""
) -> Trained:
    """Fit, calibrate and evaluate a model, and write the run folder.

    Args:
        settings: what to train on what.
        out: the run folder itself; a new folder under ``runs`` when None.
        progress: receives progress and notes.
        command: the command line, for the record.

    Raises:
        AdcliError: anything the user can put right; nothing that looks like a finished run is left behind.
    """
    progress = _silence_others(progress)
    if out is not None and torchrun.rank() == 0:
        # Before any image is read: it would be read for nothing.
        check_free(out)
    check_places(settings)
    job = _prepare(settings, progress)
    history = {"created": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "command": command}
    content = {**history, **job.settings.to_dict(), "record": job.record}
    partial = None
    if torchrun.rank() == 0:
        if out is None:
            partial = PartialRun.create_named(settings.model, job.data.name, content)
        else:
            partial = PartialRun.create(out, content)
    return _carry_out(job, partial, content, progress)


@torchrun.joined()
def resume(
    reference: str | Path,
    *,
    data: str | None = None,
    data_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Continue an interrupted run to the result it would have had.

    Args:
        reference: the run.
        data: where its data are now, if they moved; their names and contents must be those that they had.
        data_options: options of the data set that are others there.
        progress: receives progress and notes.

    Raises:
        RunError: there is no such run, another process works on it, or its data changed.
    """
    progress, partial = _silence_others(progress), None
    if torchrun.rank() == 0:
        partial, content = PartialRun.resume(find_interrupted(str(reference), progress.note))
        torchrun.on_first(lambda: content)
    else:
        content = torchrun.on_first(dict)
    try:
        return _go_on(reference, partial, content, data, data_options or {}, progress)
    finally:
        if partial is not None:
            partial.leave()


def _go_on(
    reference: str | Path,
    partial: PartialRun | None,
    content: dict[str, Any],
    data: str | None,
    data_options: Mapping[str, Any],
    progress: Progress,
) -> Trained:
    content.pop("format", None)
    content.setdefault("command", "")
    if "weights" in content["record"]:
        return _share(None if partial is None else Trained(conclude(partial, progress), None))
    if "updates" in content["record"]:
        command = quote("adcli", "runs", "rm", reference)
        raise RunError(f"{reference}: is an update that was interrupted; remove it, and update again: {command}")
    settings = TrainSettings.parse({k: v for k, v in content.items() if k not in NOT_SETTINGS})
    where = Path(reference) if partial is None else partial.folder
    before = content["record"]
    for name in ("model", "plugin", "data"):
        if name not in before:
            raise RunError(f"{where / RUN_FILE}: record.{name} is missing; train again.")
    with blaming(where, given=data_options):
        job = _prepare_again(reference, settings, data, data_options, progress)
    known = before["data"]["fingerprint"]
    if job.record["data"]["fingerprint"] != known:
        differ = torchrun.on_first(lambda: _describe_difference(partial, job.training, known))
        if differ:
            raise RunError(f"{reference}: the training images have changed since ({differ}); train anew.")
        progress.note("the training images have other names now, and the same contents in the same order.")
    kept = torchrun.on_first(lambda: _find_kept_fit(partial, before, progress))
    _compare_inputs(reference, partial, before, job, kept, progress)
    fresh = {name: job.record[name] for name in ("data", BEGAN_WITH)}
    if any(before.get(name) != value for name, value in fresh.items()):
        before = content["record"] = before | fresh
        if partial is not None:
            partial.write(RUN_FILE, seal({"format": FORMAT, **content}))
    content |= {"data": job.settings.data, "data_options": dict(job.settings.data_options)}
    if job.record.get("ignore") != before.get("ignore"):
        raise RunError(f"{reference}: the image of --ignore has changed since; train anew.")
    if kept is not None:
        progress.note("the fit is kept: going on after it.")
    elif job.provided.spec.one_pass:
        progress.note(f"{job.settings.model} fits in one pass: starting over.")
    elif before.get("processes", 1) != torchrun.world_size():
        started = before.get("processes", 1)
        raise RunError(f"{reference}: was started with {started} process(es); continue it with as many.")
    # What was said of a replaced backbone is known only from the first attempt, and who fitted from the fit.
    true = {name: before[name] for name in ("backbone", *(_OF_FIT if kept else ())) if name in before}
    return _carry_out(replace(job, record=job.record | true, kept_fit=kept), partial, content, progress)


def _prepare_again(
    reference: str | Path,
    settings: TrainSettings,
    data: str | None,
    data_options: Mapping[str, Any],
    progress: Progress,
) -> Job:
    """Decide all there is to decide, with data that may have moved; says how to tell where they are."""
    options = {**settings.data_options, **data_options}
    moved = replace(settings, data=settings.data if data is None else data, data_options=options)
    try:
        return _prepare(moved, progress)
    except DataError as error:
        place = Path(settings.data or "")
        if data is not None or not place.is_absolute() or place.exists():
            raise
        command = f"{quote('adcli', 'train', '--resume', reference)} --data FOLDER"
        raise DataError(f"{error.message.rstrip('.')}; if the images moved, say where they are: {command}") from None


def _compare_inputs(
    reference: str | Path,
    partial: PartialRun | None,
    before: Mapping[str, Any],
    job: Job,
    kept: KeptFit | None,
    progress: Progress,
) -> None:
    """Note that test images changed since a run began; raises :class:`RunError` if anything else did."""
    if BEGAN_WITH not in before:
        return

    def compare() -> list[str]:
        assert partial is not None
        return list(compare_inputs(before[BEGAN_WITH], _read_began(partial), job.inputs))

    changes = Changes(*torchrun.on_first(compare))
    # A fit that is over needs no files any more, unless those of folds are still to come.
    problem = changes.images or ("" if kept and not job.plan.folds else changes.files)
    if problem:
        raise RunError(f"{reference}: {problem}; train anew.")
    if changes.tested:
        progress.note(f"warning: {changes.tested}: the evaluation is of those that are there now.")


def _read_began(partial: PartialRun) -> list[SeenImage]:
    """Return the images that a run began with, as far as they were written down."""
    path = inside(partial.folder, TRAINING_FILE)
    return parse_images(path) if path.is_file() else []


def _describe_difference(partial: PartialRun | None, now: Sequence[SeenImage], known: str) -> str:
    """Return what became of the images that a run began with; nothing if no more than their names."""
    before = [] if partial is None else [image for image in _read_began(partial) if image.role == "fitted"]
    if not before:
        return "which of them is not known"
    digests = [image.digest for image in before]
    # The model sees contents, in the order of the names; the list is believed if it is the one of the record.
    if digests == [image.digest for image in now] and known == fingerprint([Path(it.name) for it in before], digests):
        return ""
    return describe_difference(before, now) or "their order"


_OF_FIT = ("core", "plugin", "processes", "stopped")
"""What a run's record says of those who fitted it, and of the fit."""


def _find_kept_fit(partial: PartialRun | None, record: Mapping[str, Any], progress: Progress) -> KeptFit | None:
    """Return what an interrupted run says of its fit, if that is over and its weights are whole."""
    kept: KeptFit | None = record.get("fit")
    if partial is None or kept is None:
        return None
    for name, digest in ((WEIGHTS_FILE, kept["weights"]), (UPDATING_FILE, kept.get("updating"))):
        path = partial.folder / name
        if digest is not None and (not path.is_file() or file_digest(path) != digest):
            progress.note(f"{path}: is missing or damaged; fitting again.")
            return None
    return kept


def _silence_others(progress: Progress | None) -> Progress:
    """Return what the first process speaks through; the others are silent."""
    return progress if progress is not None and torchrun.rank() == 0 else Silent()


def _prepare(settings: TrainSettings, progress: Progress) -> Job:
    """Decide all there is to decide, from the settings and the data."""
    provided = registry().models[settings.model]
    spec = provided.spec
    _check_updatable(spec, settings, progress)
    _note_patience(spec, settings, progress)
    chosen = _choose_options(spec, settings, progress)
    device = pick_device(settings.device)
    data = load_data(settings.data, settings.data_options, part=settings.part or "")
    progress.note(data.splits.description)
    say(data.splits.left_out, progress.note)
    _note_rate(settings, progress)
    found = Survey(*torchrun.on_first(lambda: survey([sample.image for sample in data.splits.train], _look(settings))))
    settings = _declare_white(settings, found, progress)
    settings, size = choose_sizes(settings, spec, chosen.options, found.sizes, progress)
    source = _open_source(settings, size, found.learnt_from)
    items, digests = read_good_images(data.splits, spec, source, progress)
    say(source.left_out, progress.note, "note")
    files = source.digests = dict(zip((item.path for item in items), digests, strict=True))
    defects = choose_defects(spec, data.splits, source, files, progress)
    plan = plan_calibration(settings, spec, data.splits, items, digests, progress, files, defects)
    if torchrun.rank() == 0:
        plan = keep_usable(settings, data.splits.test, plan, source, progress)
    if torchrun.world_size() > 1:
        _check_processes(plan, items)
    batch_size = choose_batch_size(spec, settings, progress)
    inputs = Inputs((), {})
    if torchrun.rank() == 0:
        inputs = list_inputs(settings, chosen.options, plan, data.splits.test, files)
    record = _record(provided, chosen, data, plan, source, size)
    record["learnt_from"] = found.learnt_from
    record[BEGAN_WITH] = torchrun.on_first(lambda: dict(inputs.digests))
    record["data"] |= {
        "fingerprint": torchrun.on_first(lambda: fingerprint([item.path for item in items], digests)),
        "skipped": len(source.skipped),
    }
    return Job(
        settings=_complete(name_absolutely(settings, data), chosen.options, size, batch_size),
        provided=provided,
        options=chosen.options,
        size=size,
        batch_size=batch_size,
        data=data,
        plan=plan,
        device=device,
        precision=pick_precision(settings.precision, device),
        source=source,
        record=record,
        training=_name_training(items, digests),
        inputs=inputs,
    )


def _check_updatable(spec: ModelSpec, settings: TrainSettings, progress: Progress) -> None:
    if settings.updatable and spec.updatable == "no":
        raise OptionError(f"--updatable: {spec.name} cannot learn more images once it is fitted; leave it out.")
    if settings.updatable and spec.updatable == "always":
        progress.note(f"--updatable: is not needed; any run of {spec.name} can be updated.")


def _note_patience(spec: ModelSpec, settings: TrainSettings, progress: Progress) -> None:
    if settings.patience and spec.one_pass:
        progress.note(f"--patience: changes nothing; {spec.name} fits in one pass.")


def _complete(settings: TrainSettings, options: Options, size: Size, batch_size: int) -> TrainSettings:
    """Return settings that say what was left to defaults."""
    return replace(
        settings,
        batch_size=batch_size,
        options=options.to_dict(),
        image_size=f"{size[0]}x{size[1]}",
    )


def _declare_white(settings: TrainSettings, found: Survey, progress: Progress) -> TrainSettings:
    """Return settings that say what is white in 16-bit images, which are said to be so if it was measured."""
    if settings.white != "auto":
        return settings
    if found.deep:
        progress.note(found.explain())
    return replace(settings, white=str(found.white))


def _note_rate(settings: TrainSettings, progress: Progress) -> None:
    """Say what a false-alarm rate is still for beside a threshold."""
    asked = {"--false-alarm-rate": "false_alarm_rate", "--confidence": "confidence"}
    given = [
        f"{flag} {value:g}" for flag, name in asked.items() if (value := getattr(settings, name)) != _default(name)
    ]
    if settings.threshold is None or not given:
        return
    sets = "sets" if len(given) == 1 else "set"
    said, other = " and ".join(given), f"--threshold {settings.threshold}"
    progress.note(f"{said}: {sets} the threshold of maps alone; that of images is {other}.")


def _default(name: str) -> Any:
    return FIELDS[name].default


def _name_training(items: Sequence[Item], digests: Sequence[str]) -> list[SeenImage]:
    names = relative_names(item.path for item in items)
    return [SeenImage(name, digest, "fitted") for name, digest in zip(names, digests, strict=True)]


def _look(settings: TrainSettings) -> Look:
    """Return what tells which part of the images the settings look at, before sizes are known."""
    looked_at = replace(framing(settings, None), reading="full")
    return lambda original: looked_at.view(original, (SMALLEST, SMALLEST), "")


def _open_source(settings: TrainSettings, size: Size, learnt_from: str) -> ImageSource:
    """Return what decodes the images of a training."""
    ignored = None if settings.ignore is None else read_ignored(Path(settings.ignore))
    return ImageSource(
        size,
        workers=settings.workers,
        cache_bytes=settings.cache << 20,
        skip_unreadable=settings.skip_unreadable,
        framing=framing(settings, ignored),
        learnt_from=learnt_from,
    )


def _record(
    provided: Provided[ModelSpec],
    chosen: ChosenOptions,
    data: Data,
    plan: CalibrationPlan,
    source: ImageSource,
    size: Size,
) -> dict[str, Any]:
    """Return what is known of a run before it begins."""
    plugin, ignored = provided.plugin, source.framing.ignored
    known = {"defects": count_labels(plan.defects)} if plan.defects else {}
    return {
        "core": __version__,
        "model": provided.spec.name,
        "image_size": list(size),
        "plugin": {"distribution": plugin.distribution, "version": plugin.version},
        "backbone": {"default_not_available": chosen.default_backbone, "reason": chosen.reason},
        "data": {"fitted": len(plan.fit), "held_out": len(plan.good), "test": count_labels(data.splits.test), **known},
        **({"processes": torchrun.world_size()} if torchrun.world_size() > 1 else {}),
        **({} if ignored is None else {"ignore": ignored_digest(ignored)}),
    }


def _choose_options(spec: ModelSpec, settings: TrainSettings, progress: Progress) -> ChosenOptions:
    """Choose the model's options in the first process: machines may differ in the weights that they can have."""
    if torchrun.world_size() == 1:
        return choose_options(spec, settings, progress)

    def choose() -> dict[str, Any]:
        found = choose_options(spec, settings, progress)
        return {"options": found.options.to_dict(), "backbone": found.default_backbone, "reason": found.reason}

    values = torchrun.on_first(choose)
    return ChosenOptions(spec.options.parse(values["options"]), values["backbone"], values["reason"])


def _check_processes(plan: CalibrationPlan, items: Sequence[Item]) -> None:
    """Check that the work can be shared out, and that all processes have the same images.

    Raises:
        OptionError: folds, whose models one process fits.
        DataError: fewer images than processes, or other ones.
    """
    processes = torchrun.world_size()
    if plan.folds:
        raise OptionError(
            f"--calibration {len(plan.folds)}-fold: works in a single process; under torchrun use a share such as 0.2."
        )
    if len(plan.fit) < processes:
        raise DataError(f"{processes} processes, but {len(plan.fit)} good image(s) to fit on; start fewer processes.")
    names = relative_names([*(item.path for item in items), *(sample.image for sample in plan.defects)])
    if torchrun.on_first(lambda: names) != names:
        raise DataError("the images are not those of the first process; give every machine the same --data.")


def _carry_out(job: Job, partial: PartialRun | None, content: dict[str, Any], progress: Progress) -> Trained:
    """Fit, calibrate, evaluate and finish; an error leaves the folder only if it holds something to go on from."""
    checkpoints = Path(torchrun.on_first(lambda: str(partial.folder / CHECKPOINTS if partial else "")))
    if partial is None:
        with repeatable(job.settings.seed):
            _fit(job, job.plan.fit, progress, checkpoints)
        return _share(None)
    try:
        # The caller's random numbers and flags of torch are as they were afterwards.
        with repeatable(job.settings.seed):
            trained = fit_to_finish(job, partial, content, progress)
        return _share(trained)
    except AdcliError as error:
        with contextlib.suppress(StorageError):
            partial.log(f"error: {error.format_message()}")
        if _holds_fit(partial):
            progress.note(f"the fit is kept; go on with: {quote('adcli', 'train', '--resume', partial.folder)}")
        elif not checkpoints.is_dir():
            left = partial.abandon(list_made(partial.folder))
            if left:
                progress.note(f"left in {partial.folder}, as adcli did not make it: {one_line(left[0].name)}")
        raise
    except KeyboardInterrupt:
        partial.log("interrupted")
        progress.note(f"interrupted; continue with: {quote('adcli', 'train', '--resume', partial.folder)}")
        raise
    finally:
        partial.leave()


def _holds_fit(partial: PartialRun) -> bool:
    """Tell whether a run that could not be finished holds a fit to go on from."""
    try:
        return "fit" in partial.read()["record"]
    except RunError:
        # The folder has the run's own name by now.
        return False


def _share(trained: Trained | None) -> Trained:
    """Return in all processes what the first one has made; the others wait for it."""

    def describe() -> dict[str, Any]:
        assert trained is not None
        run = trained.run
        values = {"path": str(run.path), "settings": dict(run.settings), "record": dict(run.record)}
        return values | {"calibration": run.calibration.to_json()}

    if torchrun.world_size() == 1 and trained is not None:
        return trained
    values = torchrun.on_first(describe)
    if trained is not None:
        return trained
    path = Path(values["path"])
    calibration = Calibration.from_json(values["calibration"], source=path / CALIBRATION_FILE)
    return Trained(Run(path, values["settings"], values["record"], calibration), None)


def fit_to_finish(job: Job, partial: PartialRun, content: dict[str, Any], progress: Progress) -> Trained:
    """Make the run: weights, calibration, evaluation, page, and last of all ``run.yaml``."""
    partial.write(TRAINING_FILE, format_images([*job.training, *job.inputs.images]))
    partial.log(f"adcli {__version__}, torch {torch.__version__}, {job.device}: {content['command'] or 'from Python'}")
    if job.source.framing.ignored is not None:
        partial.write(IGNORE_FILE, ignored_png(job.source.framing.ignored))
    laps = Laps(partial.log)
    if job.kept_fit is None:
        model, kept = _fit_and_keep(job, partial, content, laps, progress)
    else:
        model, kept = _restore_fit(job, partial), job.kept_fit
    laps.seconds |= kept["timings"]
    runtime = _runtime(job, model)
    calibration = calibrate(
        job.plan,
        runtime,
        job.source,
        refit=lambda items: _runtime(job, _fit(job, items, progress)),
        batch_size=job.batch_size,
        progress=progress,
    )
    calibration = replace(calibration, weights=kept["weights"], number=1)
    picture = draw_threshold_image(calibration, job.plan, runtime, job.source)
    reference = job.settings.calibration if job.plan.method == "folder" else job.settings.data or ""
    first = KeptCalibration(calibration, now(), content["command"], reference, job.plan.left_out)
    unlike = draw_unlike_images(calibration, job.plan, runtime, job.source)
    for name, data in kept_files(first, picture, unlike).items():
        partial.write(name, data)
    laps.end("calibrate")
    origin = Origin(partial.final.name, kept["weights"], job.record["learnt_from"])
    scorer = Scorer(runtime, job.source, calibration, job.batch_size, origin)
    ending = Ending(
        job=job,
        partial=partial,
        content=content,
        weights=kept["weights"],
        updating=kept.get("updating", ""),
        scorer=scorer,
        laps=laps,
        progress=progress,
    )
    return ending.finish()


def _runtime(job: Job, model: Model) -> Runtime:
    return of_parts(ModelRuntime(model, job.device), job.source.framing, job.size)


def _fit_and_keep(
    job: Job, partial: PartialRun, content: dict[str, Any], laps: Laps, progress: Progress
) -> tuple[Model, KeptFit]:
    """Fit, and put the weights where a resumed training finds them, whatever fails after this."""
    model = _fit(job, job.plan.fit, progress, partial.folder / CHECKPOINTS, partial, laps)
    laps.end("fit")
    kept = KeptFit(weights=_save(model.weights(), partial.folder / WEIGHTS_FILE), timings=dict(laps.seconds))
    if model.kept:
        path = partial.folder / UPDATING_FILE
        kept["updating"] = _save(model.kept, path)
        progress.note(f"kept for updates: {path.stat().st_size / 1e6:.1f} MB ({UPDATING_FILE}).")
    record = {**job.record, "fit": dict(kept)}
    partial.write(RUN_FILE, seal({"format": FORMAT, **content, "record": record}))
    return model, kept


def _restore_fit(job: Job, partial: PartialRun) -> Model:
    """Return the model whose fit was over when the training was interrupted."""
    made, by, options = job.record["model"], job.record["plugin"], job.settings.options
    path = partial.folder / WEIGHTS_FILE
    return restore_model(made, by, options, job.size, lambda: path, partial.folder).to(job.device)


def _begin(job: Job) -> Model:
    """Return the model that is to learn: a new one, or that of the run which is updated."""
    if job.origin is None:
        return build_model(job.provided, job.options, job.size, pretrained=True)
    model, kept = job.origin.restore(), job.origin.verified_updating()
    if kept is not None:
        model.kept = load_tensors(kept)
    return model


def _fit(
    job: Job,
    items: Sequence[Item],
    progress: Progress,
    checkpoints: Path | None = None,
    partial: PartialRun | None = None,
    laps: Laps | None = None,
) -> Model:
    """Make a model, fit it to good images, and return it in evaluation mode.

    Every random choice follows the seed. ``partial`` logs what a plugin failed of, and ``laps`` how long making took.
    """
    make_repeatable(job.settings.seed)
    model = _begin(job).to(job.device)
    if laps is not None:
        laps.end("build")
    model.set_precision(job.precision)
    updatable = job.settings.updatable or job.origin is not None
    session = Session(progress, job.device, job.precision, checkpoints, updatable, job.settings.patience or 0)
    batches = Batches(
        items,
        job.source,
        batch_size=job.batch_size,
        seed=job.settings.seed,
        session=session,
        defects=job.plan.defects,
    )
    check_images(min(job.batch_size, len(items)), *job.size, job.device)
    try:
        with foreseeing(model):
            (model.fit if job.origin is None else model.update)(batches)
    except AdcliError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise LackOfMemoryError from None
        if refused := refusal(error):
            raise refused from error
        if partial is not None:
            partial.log("failed:", *traceback.format_exc().splitlines())
        reason = locate(error, type(model).__module__.partition(".")[0])
        raise PluginError(f"model '{job.settings.model}' of {job.provided.plugin} failed to fit ({reason}).") from error
    if session.stopped:
        job.record["stopped"] = session.stopped
    model.set_precision(torch.float32)
    return model.eval()


def _save(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Write tensors so that the file's name never stands for half of them; returns the file's digest."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        save_file(dict(tensors), temporary)
        # safetensors' own files are for their owner alone.
        shutil.copymode(path.with_name(RUN_FILE), temporary)
        sync(temporary)
        _system.replace(temporary, path)
        return file_digest(path)
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"cannot write {path}: {one_line(str(error))}; free space or choose another --out."
        ) from None
