"""Training: from settings to a finished run folder."""

import platform
import shutil
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from adcli import __version__
from adcli._files import file_digest, seal
from adcli._plugins.registry import Provided, registry
from adcli.data.decoding import Size
from adcli.data.fingerprint import fingerprint, relative_names
from adcli.data.framing import IGNORE_FILE, ignored_digest, ignored_png, read_ignored
from adcli.data.references import Data, load_data
from adcli.data.samples import count_labels
from adcli.data.source import ImageSource
from adcli.errors import (
    AdcliError,
    DataError,
    OptionError,
    PluginError,
    RunError,
    StorageError,
    TrainingError,
    one_line,
    place,
)
from adcli.nn import distributed
from adcli.nn.batches import Batches, Session
from adcli.nn.devices import make_repeatable, pick_device, pick_precision
from adcli.nn.model import Model
from adcli.nn.runtime import ModelRuntime
from adcli.options import Options
from adcli.pipeline._building import (
    ChosenOptions,
    build_model,
    checked_images,
    choose_batch_size,
    choose_options,
    repeatable,
)
from adcli.pipeline._evaluation import EVALUATIONS, OWN, REPORT_FILE, Evaluation, copy_to_top, write_full_evaluation
from adcli.pipeline._plan import plan_calibration
from adcli.pipeline._run_page import write_report
from adcli.pipeline.settings import NOT_SETTINGS, TrainSettings, framing, parse_size
from adcli.progress import Progress, Silent
from adcli.runs.find import find_interrupted, new_run_path
from adcli.runs.partial import CHECKPOINTS, PartialRun
from adcli.runs.run import CALIBRATION_FILE, FORMAT, RUN_FILE, WEIGHTS_FILE, Run
from adcli.scoring.calibrating import CalibrationPlan, calibrate
from adcli.scoring.calibration import Calibration
from adcli.scoring.scorer import Scorer
from adcli.specs import ModelSpec


@dataclass(frozen=True)
class Trained:
    """A finished run and, where the data has test images, its evaluation; of several processes, only the first has it.

    Where the machines share no file system, the run's folder lies on the first one's.
    """

    run: Run
    evaluation: Evaluation | None


@dataclass(frozen=True)
class _Plan:
    """All that is decided before anything is computed."""

    settings: TrainSettings
    provided: Provided[ModelSpec]
    options: Options
    size: Size
    batch_size: int
    data: Data
    calibration: CalibrationPlan
    device: torch.device
    precision: torch.dtype
    source: ImageSource
    record: dict[str, Any]


@distributed.joined()
def train(
    settings: TrainSettings, *, out: Path | None = None, progress: Progress | None = None, command: str = ""
) -> Trained:
    """Fit, calibrate and evaluate a model, and write the run folder.

    Called in several processes that torchrun started, all fit; the first alone does the rest and says anything.

    Args:
        settings: what to train on what.
        out: the run folder itself; a new folder under ``runs`` when None.
        progress: receives progress and notes.
        command: the command line, for the record.

    Raises:
        AdcliError: anything the user can put right; nothing that looks like a finished run is left behind.
    """
    progress = _voice(progress)
    plan = _plan(settings, progress)
    final = out or new_run_path(settings.model, plan.data.name)
    history = {"created": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "command": command}
    content = {**history, **plan.settings.to_dict(), "record": plan.record}
    partial = PartialRun.create(final, content) if distributed.rank() == 0 else None
    return _carry_out(plan, partial, content, progress)


@distributed.joined()
def resume(reference: str | Path, *, progress: Progress | None = None) -> Trained:
    """Continue an interrupted run to the result it would have had.

    Raises:
        RunError: there is no such run, another process works on it, or its data changed.
    """
    progress = _voice(progress)
    partial, content = _take_up(str(reference))
    content.pop("format", None)
    if "weights" in content["record"]:
        return _shared(None if partial is None else Trained(partial.finish(), None))
    settings = TrainSettings.parse({key: value for key, value in content.items() if key not in NOT_SETTINGS})
    plan = _plan(settings, progress)
    before = content["record"]
    if plan.record["data"]["fingerprint"] != before["data"]["fingerprint"]:
        raise RunError(f"{reference}: the training images have changed since; train anew.")
    if plan.record.get("ignore") != before.get("ignore"):
        raise RunError(f"{reference}: the image of --ignore has changed since; train anew.")
    processes = before.get("processes", 1)
    if plan.provided.spec.one_pass:
        progress.note(f"{settings.model} fits in one pass: starting over.")
    elif processes != distributed.world_size():
        raise RunError(f"{reference}: was started with {processes} process(es); continue it with as many.")
    # What was said of a replaced backbone is known only from the first attempt.
    return _carry_out(replace(plan, record=plan.record | {"backbone": before["backbone"]}), partial, content, progress)


def _voice(progress: Progress | None) -> Progress:
    """Return what the first process speaks through; the others are silent."""
    return progress if progress is not None and distributed.rank() == 0 else Silent()


def _take_up(reference: str) -> tuple[PartialRun | None, dict[str, Any]]:
    """Return an interrupted run, in the first process alone, and the content of its ``run.yaml``."""
    if distributed.rank():
        return None, distributed.on_first(dict)
    partial, content = PartialRun.resume(find_interrupted(reference))
    return partial, distributed.on_first(lambda: content)


def _plan(settings: TrainSettings, progress: Progress) -> _Plan:
    provided = registry().models[settings.model]
    spec = provided.spec
    chosen = _chosen_alike(spec, settings, progress)
    batch_size = choose_batch_size(spec, settings, progress)
    device = pick_device(settings.device)
    size = parse_size(settings.image_size) if settings.image_size else spec.image_size
    data = load_data(settings.data, settings.data_options)
    progress.note(data.splits.description)
    ignored = None if settings.ignore is None else read_ignored(Path(settings.ignore))
    source = ImageSource(
        size,
        workers=settings.workers,
        cache_bytes=settings.cache << 20,
        skip_unreadable=settings.skip_unreadable,
        framing=framing(settings, ignored),
    )
    images = checked_images([sample.image for sample in data.splits.train], spec, settings, source, progress)
    plan = plan_calibration(settings, spec, data.splits, images)
    _check_processes(plan, images)
    complete = replace(
        repeatable(settings, data),
        batch_size=batch_size,
        options=chosen.options.to_dict(),
        image_size=f"{size[0]}x{size[1]}",
        ignore=None if settings.ignore is None else str(Path(settings.ignore).absolute()),
    )
    record: dict[str, Any] = {
        "core": __version__,
        "model": spec.name,
        "plugin": {"distribution": provided.plugin.distribution, "version": provided.plugin.version},
        "backbone": {"default_not_available": chosen.default_backbone, "reason": chosen.reason},
        "data": {
            "fingerprint": distributed.on_first(lambda: fingerprint(images, settings.workers)),
            "fitted": len(plan.fit),
            "held_out": len(plan.good),
            "test": count_labels(data.splits.test),
            "skipped": len(source.skipped),
        },
    }
    if distributed.world_size() > 1:
        record["processes"] = distributed.world_size()
    if ignored is not None:
        record["ignore"] = ignored_digest(ignored)
    precision = pick_precision(settings.precision, device)
    return _Plan(complete, provided, chosen.options, size, batch_size, data, plan, device, precision, source, record)


def _chosen_alike(spec: ModelSpec, settings: TrainSettings, progress: Progress) -> ChosenOptions:
    """Choose the model's options in the first process: machines may differ in the weights that they can have."""
    if distributed.world_size() == 1:
        return choose_options(spec, settings, progress)

    def chosen() -> dict[str, Any]:
        found = choose_options(spec, settings, progress)
        return {"options": found.options.to_dict(), "backbone": found.default_backbone, "reason": found.reason}

    values = distributed.on_first(chosen)
    return ChosenOptions(spec.options.parse(values["options"]), values["backbone"], values["reason"])


def _check_processes(plan: CalibrationPlan, images: Sequence[Path]) -> None:
    """Check that the work can be shared out, and that all processes have the same images.

    Raises:
        OptionError: folds, whose models one process fits.
        DataError: fewer images than processes, or other ones.
    """
    processes = distributed.world_size()
    if processes == 1:
        return
    if plan.folds:
        raise OptionError(
            f"--calibration {len(plan.folds)}-fold: works in a single process; under torchrun use a share such as 0.2."
        )
    if len(plan.fit) < processes:
        raise DataError(f"{processes} processes, but {len(plan.fit)} good image(s) to fit on; start fewer processes.")
    names = relative_names(images)
    if distributed.on_first(lambda: names) != names:
        raise DataError("the images are not those of the first process; give every machine the same --data.")


def _carry_out(plan: _Plan, partial: PartialRun | None, content: dict[str, Any], progress: Progress) -> Trained:
    """Fit, calibrate, evaluate and finish; an error leaves the folder only where it holds something to go on from."""
    checkpoints = Path(distributed.on_first(lambda: str(partial.folder / CHECKPOINTS if partial else "")))
    if partial is None:
        _fit(plan, _build(plan), plan.calibration.fit, progress, checkpoints)
        return _shared(None)
    try:
        return _shared(_fit_to_finish(plan, partial, content, progress))
    except AdcliError as error:
        partial.log(f"error: {error.format_message()}")
        if not (partial.folder / CHECKPOINTS).is_dir():
            partial.abandon()
        raise
    except KeyboardInterrupt:
        partial.log("interrupted")
        progress.note(f"interrupted; continue with: adcli train --resume {partial.folder}")
        raise


def _shared(trained: Trained | None) -> Trained:
    """Return what the first process has made, in all; the others wait for it."""
    values = distributed.on_first(lambda: _described(trained.run) if trained else {})
    if trained is not None:
        return trained
    path = Path(values["path"])
    calibration = Calibration.from_json(values["calibration"], source=path / CALIBRATION_FILE)
    return Trained(Run(path, values["settings"], values["record"], calibration), None)


def _described(run: Run) -> dict[str, Any]:
    described = {"path": str(run.path), "settings": dict(run.settings), "record": dict(run.record)}
    return described | {"calibration": run.calibration.to_json()}


def _fit_to_finish(plan: _Plan, partial: PartialRun, content: dict[str, Any], progress: Progress) -> Trained:
    timings: dict[str, float] = {}
    partial.log(f"adcli {__version__}, torch {torch.__version__}, {plan.device}: {content['command'] or 'from Python'}")
    if plan.source.framing.ignored is not None:
        partial.write(IGNORE_FILE, ignored_png(plan.source.framing.ignored))
    clock = time.perf_counter()
    model = _build(plan)
    clock = _lap(partial, timings, "build", clock)
    _fit(plan, model, plan.calibration.fit, progress, partial.folder / CHECKPOINTS, partial)
    clock = _lap(partial, timings, "fit", clock)
    _save_weights(model, partial.folder / WEIGHTS_FILE)
    calibration, map_range = calibrate(
        plan.calibration,
        ModelRuntime(model, plan.device),
        plan.source,
        refit=lambda images: ModelRuntime(_fit(plan, _build(plan), images, progress), plan.device),
        batch_size=plan.batch_size,
        progress=progress,
    )
    partial.write(CALIBRATION_FILE, calibration.to_json())
    clock = _lap(partial, timings, "calibrate", clock)
    evaluation = _evaluate(plan, model, calibration, map_range, partial, progress)
    _lap(partial, timings, "evaluate", clock)
    record = plan.record | {
        "weights": file_digest(partial.folder / WEIGHTS_FILE),
        "map_range": list(map_range),
        "device": str(plan.device),
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__},
        "timings": timings,
    }
    settings = {name: value for name, value in content.items() if name != "record"}
    _report(Run(partial.final, settings, record, calibration), evaluation, partial, plan.data.name)
    partial.write(RUN_FILE, seal({"format": FORMAT, **content, "record": record}))
    run = partial.finish()
    registry().call_each("adcli_run_finished", run=run)
    for line in registry().take_hook_warnings():
        progress.note(line)
    return Trained(run, evaluation)


def _lap(partial: PartialRun, timings: dict[str, float], name: str, since: float) -> float:
    now = time.perf_counter()
    timings[f"{name}_seconds"] = round(now - since, 3)
    partial.log(f"{name}: {now - since:.1f} s")
    return now


def _build(plan: _Plan) -> Model:
    """Return a new model; every random choice from here on follows the seed."""
    make_repeatable(plan.settings.seed)
    return build_model(plan.provided, plan.options, plan.size, pretrained=True).to(plan.device)


def _fit(
    plan: _Plan,
    model: Model,
    images: Sequence[Path],
    progress: Progress,
    checkpoints: Path | None = None,
    partial: PartialRun | None = None,
) -> Model:
    """Fit a model to good images and return it in evaluation mode; ``partial`` logs what a plugin failed of."""
    model.set_precision(plan.precision)
    session = Session(progress, plan.device, plan.precision, checkpoints)
    batches = Batches(images, plan.source, batch_size=plan.batch_size, seed=plan.settings.seed, session=session)
    try:
        model.fit(batches)
    except (torch.OutOfMemoryError, MemoryError):
        raise TrainingError(
            "not enough memory to fit; lower --batch-size or --image-size, or see 'adcli models show'."
        ) from None
    except AdcliError:
        raise
    except Exception as error:
        if partial is not None:
            partial.log(traceback.format_exc())
        reason = one_line(error) + place(error, type(model).__module__.partition(".")[0])
        raise PluginError(
            f"model '{plan.settings.model}' of {plan.provided.plugin} failed to fit ({reason})."
        ) from error
    model.set_precision(torch.float32)
    return model.eval()


def _save_weights(model: Model, path: Path) -> None:
    try:
        save_file(model.weights(), path)
        # safetensors' own files are for their owner alone.
        shutil.copymode(path.with_name(RUN_FILE), path)
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise StorageError(f"cannot write {path}: {reason}; free space or choose another --out.") from None


def _evaluate(
    plan: _Plan,
    model: Model,
    calibration: Calibration,
    map_range: tuple[float, float],
    partial: PartialRun,
    progress: Progress,
) -> Evaluation | None:
    if not plan.data.splits.test:
        return None
    runtime = ModelRuntime(model, plan.device)
    scorer = Scorer(runtime, plan.source, calibration, map_range, plan.batch_size)
    folder = partial.folder / EVALUATIONS / OWN
    return write_full_evaluation(folder, scorer, plan.data.splits.test, "some", progress)


def _report(run: Run, evaluation: Evaluation | None, partial: PartialRun, data: str) -> None:
    if evaluation is None:
        write_report(partial.folder / REPORT_FILE, run, None)
        return
    folder = partial.folder / EVALUATIONS / OWN
    write_report(folder / REPORT_FILE, run, evaluation, data)
    copy_to_top(folder, partial.folder)
