"""Which good images fit the model and which calibrate it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adcli.data.folder import images_in, labelled_images, list_left_out
from adcli.data.guarding import digests_of, guard, keep_whole
from adcli.data.left_out import Omissions, say
from adcli.data.part_rule import PartRule, assign_parts_of_folder, join_linked, refuse_more_views, refuse_straddling
from adcli.data.samples import Sample, Splits
from adcli.data.source import Item, items_of
from adcli.errors import DataError, OptionError
from adcli.progress import Progress, Silent
from adcli.runs.settings import TrainSettings, parse_calibration, parse_threshold
from adcli.scoring.thresholds import CalibrationPlan
from adcli.specs import ModelSpec


def plan_calibration(
    settings: TrainSettings,
    spec: ModelSpec,
    splits: Splits,
    items: Sequence[Item],
    digests: Sequence[str],
    progress: Progress | None = None,
    files: dict[Path, str] | None = None,
    defects: Sequence[Sample] = (),
) -> CalibrationPlan:
    """Decide by the digests of files which images calibrate: no test images, nor, but in folds, those that are fitted.

    Args:
        settings: how to calibrate.
        spec: of the model.
        splits: their validation images serve ``--threshold f1``, and their test images calibrate nothing.
        items: good images to train on.
        digests: of their files.
        progress: is told what is left out.
        files: digests of files that were read already; takes up those that are read for this.
        defects: known defects that the model learns from; neither they nor copies of them calibrate.

    Raises:
        DataError: too few images to hold some out, or no labelled validation images; or none that may calibrate.
        OptionError: folds for a model that trains for long.
    """
    chosen, note = parse_calibration(settings.calibration), (progress or Silent()).note
    files = {} if files is None else files
    tested = set() if chosen is None and settings.threshold != "f1" else _digests_of_samples(splits.test, files)
    known = dict(zip(items, digests, strict=True))
    learnt = _digests_of_samples(defects, files)
    plan = replace(_begin(settings, splits, items), defects=defects)
    rule = plan.parts
    if isinstance(chosen, float):
        fit, good = _hold_out(plan, chosen, settings.seed)
        plan = replace(plan, method="held-out", fit=fit)
        fitted = {known[item] for item in fit}
        plan = _guard_good(plan, good, [known[item] for item in good], settings, note, fitted, tested)
    elif isinstance(chosen, int):
        plan = _guard_good(plan, items, digests, settings, note, (), tested)
        folds = _fold(plan, digests, chosen, settings.seed, spec)
        plan = replace(plan, method="k-fold", folds=folds, good=(), counted=plan.good)
    elif chosen is not None:
        good, found = _list_folder(chosen, settings, files, note)
        plan = replace(plan, method="folder", part_of={**plan.part_of, **_name_parts(rule, good, settings, splits)})
        plan = _guard_good(plan, good, found, settings, note, learnt | set(digests), tested)
    if not plan.fit:
        raise DataError("no good images to fit on are left.")
    if settings.shots is not None:
        plan = replace(plan, fit=_draw_shots(plan, settings.shots, settings.seed))
        note(f"--shots {settings.shots}: fitted to {len(plan.fit)} of {len(items)} good images.")
    if settings.threshold == "f1":
        fitted = learnt | {known[item] for item in plan.fit}
        validation = _validation_samples(settings, splits, fitted, tested, files, note)
        return replace(plan, method="f1", chosen_by=plan.method, validation=validation)
    return plan if settings.threshold is None else _with_value(plan, settings.threshold)


def _begin(settings: TrainSettings, splits: Splits, items: Sequence[Item]) -> CalibrationPlan:
    """Return a plan that does not calibrate yet, and knows the parts."""
    rule, part_of = find_rule(settings, splits), {sample.image: sample.part for sample in splits.train if sample.part}
    return CalibrationPlan(
        method="none",
        rate=settings.false_alarm_rate,
        confidence=settings.confidence,
        fit=items,
        parts=rule,
        part_of=part_of if rule else {},
    )


def _with_value(plan: CalibrationPlan, threshold: str) -> CalibrationPlan:
    return replace(plan, method="value", chosen_by=plan.method, value=parse_threshold(threshold))


def _list_folder(
    folder: Path, settings: TrainSettings, files: dict[Path, str], note: Callable[[str], None]
) -> tuple[list[Item], list[str]]:
    """Return the images in a folder of ``--calibration``, and the digests of their files."""
    left_out = Omissions()
    items = items_of(images_in([folder], left_out))
    say(left_out, note)
    return items, digests_of([item.path for item in items], skip_unreadable=settings.skip_unreadable, known=files)


def _guard_good(
    plan: CalibrationPlan,
    good: Sequence[Item],
    digests: Sequence[str],
    settings: TrainSettings,
    note: Callable[[str], None],
    fitted: Collection[str],
    tested: Collection[str] = (),
) -> CalibrationPlan:
    """Return the plan with those of the good images that may calibrate it, and note which do not."""
    where = f"--calibration {settings.calibration}"
    remedy = "give images that differ from them, or use --calibration none for no verdicts"
    guarded = guard(good, digests, fitted, where, remedy, tested=tested)
    for line in guarded.notes(where):
        note(line)
    parts = {item: plan.part_of[item.path] for item in good if item.path in plan.part_of}
    kept, left_out = keep_whole(guarded.kept, good, parts), dict(guarded.left_out)
    if guarded.kept and not kept:
        raise DataError(
            f"{where}: no part is left: each shows an image that the model is fitted to, a test image, or a copy; "
            f"{remedy}."
        )
    if len(kept) < len(guarded.kept):
        left_out["parts of those"] = len(guarded.kept) - len(kept)
        note(f"{where}: left out {len(guarded.kept) - len(kept)} other images of the parts that those show.")
    return replace(plan, good=kept, left_out=left_out)


def find_rule(settings: TrainSettings, splits: Splits) -> PartRule | None:
    """Return how the parts of a data set are told; None if each of its photographs is a part."""
    if not any(sample.part for sample in (*splits.train, *splits.defects, *splits.test)):
        if settings.views is not None:
            raise OptionError(f"--views {settings.views}: the images name no parts; say which they show with --part.")
        return None
    rule = PartRule(settings.part or str(settings.data_options.get("part", "")), settings.views or 0)
    refuse_more_views((*splits.train, *splits.defects, *splits.test, *splits.validation), rule)
    return rule


def _name_parts(
    rule: PartRule | None, items: Sequence[Item], settings: TrainSettings, splits: Splits
) -> dict[Path, str]:
    """Return the parts that the images of ``--calibration DIR`` show, none of which is one of the data's."""
    where = f"--calibration {settings.calibration}"
    named = assign_parts_of_folder([Sample(item.path, "good") for item in items], rule, where)
    refuse_straddling({"training": [*splits.train, *splits.defects], "test": splits.test, where: named})
    return {sample.image: sample.part for sample in named if sample.part}


def _hold_out(plan: CalibrationPlan, share: float, seed: int) -> tuple[list[Item], list[Item]]:
    """Return the images of most parts to fit on, and those of the others."""
    groups = join_linked([plan.tell_part(item.path)] for item in plan.fit)
    total = len(set(groups))
    if total < 2:
        what = "good image(s)" if plan.parts is None else "good part(s)"
        raise DataError(
            f"{total} {what}: too few to hold some out for calibration; add images, "
            "or use --calibration none for no verdicts."
        )
    count = min(max(round(share * total), 1), total - 1)
    held_out = set(_shuffle(total, seed)[:count].tolist())
    return (
        [item for item, group in zip(plan.fit, groups, strict=True) if group not in held_out],
        [item for item, group in zip(plan.fit, groups, strict=True) if group in held_out],
    )


def _draw_shots(plan: CalibrationPlan, shots: int, seed: int) -> list[Item]:
    """Return as many of the images to fit on, by the seed: of one seed, fewer are always among more."""
    if plan.folds:
        raise OptionError(
            f"--shots {shots}: fits on few of the images, and folds on most; use --calibration with a share or none."
        )
    if shots > len(plan.fit):
        raise DataError(f"--shots {shots}: there are {len(plan.fit)} good images to fit on; give no more.")
    drawn = sorted(_shuffle(len(plan.fit), seed, _SHOTS)[:shots].tolist())
    return [plan.fit[i] for i in drawn]


def _fold(plan: CalibrationPlan, digests: Sequence[str], k: int, seed: int, spec: ModelSpec) -> list[list[Item]]:
    """Return k lists of images; copies of one image are in the same, and the images of a part."""
    if not spec.one_pass:
        raise OptionError(
            f"--calibration {k}-fold: {spec.name} trains for many epochs, and folds would take {k} times as long; "
            "use a share such as 0.2."
        )
    items, names = plan.fit, [plan.tell_part(item.path) for item in plan.fit]
    linked = join_linked([name, *([digest] if digest else [])] for name, digest in zip(names, digests, strict=True))
    groups: dict[int, list[int]] = {}
    for i, group in enumerate(linked):
        groups.setdefault(group, []).append(i)
    if len(groups) < k:
        what = "images" if plan.parts is None else "parts"
        raise DataError(f"--calibration {k}-fold: needs at least {k} different good {what}, there are {len(groups)}.")
    order = _shuffle(len(groups), seed)
    return [[items[i] for i in sorted(i for group in order[fold::k] for i in groups[group])] for fold in range(k)]


_CALIBRATION, _SHOTS = 0xCA11B, 0x5407
"""What is drawn, so that draws of one seed have nothing to do with each other."""


def _shuffle(count: int, seed: int, what: int = _CALIBRATION) -> NDArray[np.intp]:
    return np.random.default_rng([seed, what]).permutation(count)


def _validation_samples(
    settings: TrainSettings,
    splits: Splits,
    fitted: Collection[str],
    tested: Collection[str],
    files: dict[Path, str],
    note: Callable[[str], None],
) -> list[Sample]:
    samples, where = list(splits.validation), "validation images"
    if settings.validation is not None:
        where = f"--validation {settings.validation}"
        samples = list_labelled(Path(settings.validation), note, find_rule(settings, splits))
        refuse_straddling({"training": [*splits.train, *splits.defects], "test": splits.test, where: samples})
    kept = guard_samples(
        samples,
        fitted,
        where,
        note,
        tested=tested,
        skip_unreadable=settings.skip_unreadable,
        known=files,
    )
    for label, called in (("good", "good"), ("defect", "defective")):
        if not any(sample.label == label for sample in kept):
            raise DataError(_ask_for(called, settings, sum(sample.label == label for sample in samples)))
    return kept


def _ask_for(called: str, settings: TrainSettings, left_out: int) -> str:
    """Say that there are no validation images of a kind, or that those were left out."""
    where = "the data set" if settings.validation is None else f"--validation {settings.validation}"
    found = f"{where} has no {called} ones"
    if left_out:
        found = f"the {left_out} {called} ones of {where} are all images that the model is fitted to, or test images"
    return (
        f"--threshold f1: needs labelled validation images, good and defective, and {found}; give --validation DIR "
        "with a folder 'good' and a folder for each kind of defect (the test images are never used)."
    )


def _digests_of_samples(samples: Sequence[Sample], files: dict[Path, str]) -> set[str]:
    """Return the digests of images, but for those that cannot be read: the evaluation says which they are."""
    return set(digests_of([sample.image for sample in samples], skip_unreadable=True, known=files)) - {""}


def list_labelled(folder: Path, note: Callable[[str], None], rule: PartRule | None = None) -> list[Sample]:
    """Return the images in a folder of ``--validation``, and note what else lies there."""
    samples = labelled_images(folder)
    say(list_left_out(folder, samples), note)
    return assign_parts_of_folder(samples, rule, f"--validation {folder}")


def guard_samples(
    samples: Sequence[Sample],
    fitted: Collection[str],
    where: str,
    note: Callable[[str], None],
    *,
    counted: Collection[str] = (),
    tested: Collection[str] = (),
    skip_unreadable: bool = False,
    known: dict[Path, str] | None = None,
) -> list[Sample]:
    """Return the samples that may set a threshold, each once, and note what is left out.

    Args:
        samples: labelled images.
        fitted: digests of the images that the model is fitted to.
        where: the option that named the samples.
        note: is told what is left out.
        counted: digests of images that count already.
        tested: digests of the test images that are to stay new.
        skip_unreadable: leave it to whoever decodes a file to say that it cannot be read.
        known: digests of files that were read already; takes up those that are read for this.

    Raises:
        DataError: each of them is fitted or a test image.
    """
    digests = digests_of([sample.image for sample in samples], skip_unreadable=skip_unreadable, known=known)
    guarded = guard(samples, digests, fitted, where, "give others", counted, tested)
    for line in guarded.notes(where):
        note(line)
    return list(guarded.kept)
