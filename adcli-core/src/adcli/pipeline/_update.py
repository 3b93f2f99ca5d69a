"""Learning more good images: a new run from a finished one, without fitting anew.

The model is the finished run's, and learns what is new by :meth:`adcli.nn.model.Model.update`. What follows is as in a
training: the settings are the run's, and so are the test images, so that both runs can be compared.
"""

import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adcli import __version__
from adcli._commands import quote
from adcli._plugins.registry import Provided, registry
from adcli.data.fingerprint import fingerprint, relative_names
from adcli.data.guarding import digests_of
from adcli.data.left_out import say
from adcli.data.part_rule import refuse_straddling
from adcli.data.references import Data, load_data
from adcli.data.samples import Sample, Splits, count_labels
from adcli.data.source import ImageSource, Item
from adcli.errors import AdcliError, DataError, OptionError, RunError
from adcli.nn.devices import pick_device, pick_precision, repeatable
from adcli.pipeline._building import read_good_images
from adcli.pipeline._held_out import load_updates
from adcli.pipeline._inputs import Inputs
from adcli.pipeline._job import Job, Trained
from adcli.pipeline._manage import list_made, remove_run
from adcli.pipeline._plan import plan_calibration
from adcli.pipeline._train import fit_to_finish
from adcli.pipeline._usable import keep_usable
from adcli.progress import Progress, Silent
from adcli.runs.images import Role, SeenImage, read_images
from adcli.runs.partial import PartialRun, check_free
from adcli.runs.run import PARTIAL, RUN_FILE, Run, Update, blaming, read_run_file
from adcli.runs.settings import BATCH_SIZE, FIELDS, TrainSettings, anchor_paths, check_places, parse_calibration
from adcli.scoring.thresholds import CalibrationPlan
from adcli.specs import ModelSpec

_WHY: Mapping[Role, str] = {
    "fitted": "the model is fitted to them already, or to copies",
    "held-out": "they, or copies, set the threshold",
    "calibration": "they, or copies, set the threshold",
    "validation": "they, or copies, are validation images",
    "test": "they, or copies, are test images of the run",
}


def update(
    run: Run,
    data: str,
    data_options: Mapping[str, Any] | None = None,
    *,
    calibration: str | None = None,
    out: Path | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> Trained:
    """Make a new run whose model has learnt more good images than a finished one's.

    It is calibrated on good images that neither fitted, of both, and evaluated on the test images of the finished run.

    Args:
        run: the finished run, which stays as it is.
        data: what ``--data`` takes: more good images. Those that the run knows are left out.
        data_options: options of that data set.
        calibration: what sets the threshold, as in the settings of a training; the run's own when None.
        out: the new run's folder; a new folder under ``runs`` when None.
        device, batch_size, workers: as in the settings of a training; the run's own when None.
        progress: receives progress and notes.
        command: the command line, for the record.

    Raises:
        RunError: the run's model cannot learn more, or the run does not keep what that needs.
        AdcliError: anything else that the user can put right; no run is left behind.
    """
    progress = progress or Silent()
    if out is not None:
        _remove_interrupted(out)
        check_free(out)
    computing = {"device": device, "batch_size": batch_size, "workers": workers}
    given = {name: value for name, value in computing.items() if value is not None}
    job = _prepare(run, data, data_options or {}, calibration, given, progress)
    history = {"created": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "command": command}
    content = {**history, **job.settings.to_dict(), "record": job.record}
    if out is None:
        partial = PartialRun.create_named(job.settings.model.rpartition("/")[2], job.data.name, content)
    else:
        partial = PartialRun.create(out, content)
    try:
        # The caller's random numbers and flags of torch are as they were afterwards.
        with repeatable(job.settings.seed):
            return fit_to_finish(job, partial, content, progress)
    except BaseException:
        partial.abandon(list_made(partial.folder))
        raise
    finally:
        partial.leave()


def _remove_interrupted(final: Path) -> None:
    """Remove what a killed update left where this one is to be made: there is nothing to go on with."""
    folder = final.parent / PARTIAL / final.name
    try:
        record = read_run_file(folder / RUN_FILE)["record"]
    except RunError:
        return
    if "updates" in record and "weights" not in record:
        remove_run(folder)


def _prepare(
    run: Run,
    data: str,
    data_options: Mapping[str, Any],
    calibration: str | None,
    given: Mapping[str, Any],
    progress: Progress,
) -> Job:
    """Decide all there is to decide, from a run and more data."""
    provided = registry().models.find_maker(run.record["model"], run.record["plugin"], run.path)
    _check_updatable(run, provided.spec)
    settings = _read_settings(run, calibration, given, progress)
    # The run has its own copy of the ignored areas.
    check_places(replace(settings, ignore=None))
    pattern = settings.part or str(settings.data_options.get("part", ""))
    seen = _Seen(read_images(run.path))
    before = _load_data_of(run, settings, seen, pattern, progress)
    more = load_data(data, dict(data_options), all_good=True, part=pattern)
    progress.note(more.splits.description)
    say(more.splits.left_out, progress.note)
    source = _open_source(run, settings)
    items, digests = _choose_new(more, seen, provided.spec, source, data, progress)
    files = source.digests = dict(zip((item.path for item in items), digests, strict=True))
    plan = _plan(run, settings, provided.spec, before, more, items, seen, files, progress)
    plan = keep_usable(settings, before.splits.test, plan, source, progress)
    step = _describe_step(run, more, items, digests, plan)
    return Job(
        settings=settings,
        provided=provided,
        options=provided.spec.options.parse(settings.options),
        size=run.image_size,
        batch_size=settings.batch_size or BATCH_SIZE,
        data=before,
        plan=plan,
        device=pick_device(settings.device),
        precision=pick_precision(settings.precision, pick_device(settings.device)),
        source=source,
        record=_record(run, provided, plan, before, step, len(seen.of("fitted"))),
        training=[
            SeenImage(name, digest, "fitted")
            for name, digest in zip(relative_names(item.path for item in items), digests, strict=True)
        ],
        inputs=Inputs((), {}),
        origin=run,
        earlier=seen.of("fitted"),
    )


def _describe_step(
    run: Run, more: Data, items: Sequence[Item], digests: Sequence[str], plan: CalibrationPlan
) -> Update:
    """Return what the new run records of what it learnt beyond a run."""
    own = {item.path for item in items}
    return {
        "run": run.name,
        "weights": run.record["weights"],
        "data": more.reference,
        "data_options": dict(more.options),
        "fingerprint": fingerprint([item.path for item in items], digests),
        "fitted": len(plan.fit),
        "held_out": sum(item.path in own for item in plan.good),
    }


def _check_updatable(run: Run, spec: ModelSpec) -> None:
    """Make sure that the run's model can learn more, and that what it needs is there."""
    again = quote("adcli", "train", "--config", run.path / RUN_FILE)
    if spec.updatable == "no":
        raise RunError(
            f"{run.path}: {spec.name} cannot learn more images once it is fitted; train it on all of them: {again} "
            "--data FOLDER"
        )
    if spec.updatable == "kept" and "updating" not in run.record:
        raise RunError(
            f"{run.path}: was trained without --updatable, and keeps nothing that updates need; train it once more: "
            f"{again} --updatable"
        )


def _read_settings(run: Run, calibration: str | None, given: Mapping[str, Any], progress: Progress) -> TrainSettings:
    """Return the run's settings, but for what is given."""
    with blaming(run.path):
        settings = TrainSettings.parse({name: run.settings[name] for name in FIELDS if name in run.settings})
    settings = replace(settings, **given)
    if calibration is not None:
        settings = anchor_paths(replace(settings, calibration=calibration))
        if isinstance(parse_calibration(calibration), int):
            raise OptionError(
                f"--calibration {calibration}: needs all images of the run, which the model is fitted to; use a share, "
                "a folder or none."
            )
    elif isinstance(parse_calibration(settings.calibration), int):
        progress.note(
            f"--calibration {FIELDS['calibration'].default}, of the new images alone: those of the run were fitted "
            f"after its {settings.calibration}."
        )
        settings = replace(settings, calibration=str(FIELDS["calibration"].default))
    if run.calibration.number > 1:
        progress.note(f"{run.name} was calibrated since it was trained; the new run is calibrated as in a training.")
    return settings


@dataclass(frozen=True)
class _Seen:
    """The images that a run saw."""

    images: Sequence[SeenImage]

    def of(self, *roles: Role) -> list[SeenImage]:
        """Return those of some roles."""
        return [image for image in self.images if image.role in roles]

    def digests(self, *roles: Role) -> set[str]:
        """Return the digests of those of some roles."""
        return {image.digest for image in self.of(*roles)}


def _load_data_of(run: Run, settings: TrainSettings, seen: _Seen, pattern: str, progress: Progress) -> Data:
    """Return the run's data, of whose test images those that it was evaluated on; empty if they are gone."""
    try:
        with blaming(run.path, "data_options"):
            data = load_data(settings.data, dict(settings.data_options), part=pattern)
    except AdcliError as error:
        progress.note(f"warning: the images of {run.name} are not there, nor its test images: {error.message}")
        name = Path(settings.data or "demo").name
        return Data(settings.data, name, Splits(()), dict(settings.data_options))
    tested = seen.digests("test")
    found = digests_of([sample.image for sample in data.splits.test], skip_unreadable=True)
    test = [sample for sample, digest in zip(data.splits.test, found, strict=True) if digest in tested]
    if len(test) < len(seen.of("test")):
        progress.note(f"warning: of {len(seen.of('test'))} test images of {run.name}, {len(test)} are there unchanged.")
    return replace(data, splits=replace(data.splits, test=test))


def _open_source(run: Run, settings: TrainSettings) -> ImageSource:
    """Return what decodes images as the run's were."""
    return ImageSource(
        run.image_size,
        workers=settings.workers,
        cache_bytes=settings.cache << 20,
        skip_unreadable=settings.skip_unreadable,
        framing=run.framing,
        learnt_from=str(run.record.get("learnt_from", "")),
    )


def _choose_new(
    more: Data, seen: _Seen, spec: ModelSpec, source: ImageSource, where: str, progress: Progress
) -> tuple[list[Item], list[str]]:
    """Return the good images that the run does not know, and their digests; note how many it knows, and from where."""
    items, digests = read_good_images(more.splits, spec, source, progress)
    say(source.left_out, progress.note, "note")
    roles = {image.digest: image.role for image in reversed(seen.images)}
    for role, why in _WHY.items():
        count = sum(roles.get(digest) == role for digest in digests)
        if count:
            progress.note(f"--data {where}: left out {count} of {len(items)} images: {why}.")
    new = [(item, digest) for item, digest in zip(items, digests, strict=True) if digest not in roles]
    if not new:
        raise DataError(f"--data {where}: has no good images that the run does not know; give new ones.")
    return [item for item, _ in new], [digest for _, digest in new]


def _plan(
    run: Run,
    settings: TrainSettings,
    spec: ModelSpec,
    before: Data,
    more: Data,
    items: Sequence[Item],
    seen: _Seen,
    files: dict[Path, str],
    progress: Progress,
) -> CalibrationPlan:
    """Decide which of the new images are learnt, and which images of both calibrate."""
    new = {item.path for item in items}
    train = [sample for sample in more.splits.train if sample.image in new]
    old = [sample for sample in before.splits.train if sample.image not in new]
    refuse_straddling({f"images of {run.name}": old, "new": train})
    validation = [*before.splits.validation, *more.splits.validation]
    splits = Splits(train, before.splits.test, validation)
    chosen = parse_calibration(settings.calibration)
    # As many as there are, whatever the run drew from; and a single one is there to be learnt.
    how = "none" if isinstance(chosen, float) and len(items) == 1 else settings.calibration
    asked = replace(settings, shots=None, calibration=how)
    digests = [files[item.path] for item in items]
    plan = plan_calibration(asked, spec, splits, items, digests, progress, files)
    if not isinstance(chosen, float):
        fitted = seen.digests("fitted")
        return replace(plan, good=[item for item in plan.good if files.get(item.path) not in fitted])
    pattern = "" if plan.parts is None else plan.parts.pattern
    old += load_updates(run, pattern, progress)
    kept = _find_held_out(run, seen, old, plan, files, progress)
    parts = {sample.image: sample.part for sample in old if sample.part and plan.parts}
    plan = replace(plan, good=[*kept, *plan.good], part_of={**parts, **plan.part_of})
    if how == "none" and plan.good:
        return replace(plan, method="held-out") if plan.method == "none" else replace(plan, chosen_by="held-out")
    return plan


def _find_held_out(
    run: Run,
    seen: _Seen,
    samples: Sequence[Sample],
    plan: CalibrationPlan,
    files: dict[Path, str],
    progress: Progress,
) -> list[Item]:
    """Return the images that the run held out, if they are there and unchanged, and say what calibrates."""
    held_out = seen.of("held-out")
    wanted = {image.digest for image in held_out}
    kept = _find_by_digest(wanted, {Path(image.name).name for image in held_out}, samples, files)
    said = f"{len(kept)} of the {len(wanted)} images that {run.name} held out, and {len(plan.good)} new ones"
    if wanted and len(kept) == len(wanted):
        said = f"{len(kept)} images that {run.name} held out, and {len(plan.good)} new ones"
    elif not wanted:
        said = f"{len(plan.good)} new images, as {run.name} held out none"
    lost = "" if len(kept) == len(wanted) else "; the others are gone or changed, and the threshold holds for these"
    progress.note(f"{'warning: ' if lost else ''}calibrated on {said}{lost}.")
    return kept


def _find_by_digest(
    wanted: set[str], names: Collection[str], samples: Sequence[Sample], files: dict[Path, str]
) -> list[Item]:
    """Return one image for each digest, of those whose files have the names: others need not be read."""
    paths = list(dict.fromkeys(sample.image for sample in samples if sample.image.name in names))
    found: dict[str, Path] = {}
    for path, digest in zip(paths, digests_of(paths, skip_unreadable=True, known=files), strict=True):
        if digest in wanted:
            found.setdefault(digest, path)
    return [Item(path) for path in sorted(found.values())]


def _record(
    run: Run,
    provided: Provided[ModelSpec],
    plan: CalibrationPlan,
    before: Data,
    step: Update,
    earlier: int,
) -> dict[str, Any]:
    """Return what is known of the new run before it begins."""
    same = ("model", "image_size", "backbone", "learnt_from", "ignore")
    both = hashlib.sha256(f"{run.record['data']['fingerprint']}{step['fingerprint']}".encode()).hexdigest()
    return {
        "core": __version__,
        **{name: run.record[name] for name in same if name in run.record},
        "plugin": {"distribution": provided.plugin.distribution, "version": provided.plugin.version},
        "data": {
            "fitted": earlier + len(plan.fit),
            "held_out": len(plan.good),
            "test": count_labels(before.splits.test),
            "fingerprint": both,
        },
        "updates": [*run.record.get("updates", ()), dict(step)],
    }
