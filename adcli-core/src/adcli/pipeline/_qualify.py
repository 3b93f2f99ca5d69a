"""What a run would miss, before the first defect exists: defects are drawn into good photographs that it never saw."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from adcli import __version__
from adcli._commands import quote
from adcli._files import check_reachable, is_folder, storing, write_atomically
from adcli._showing import count, introduce, join_blocks, tabulate
from adcli.data.ahead import read_ahead
from adcli.data.decoding import judge_mask
from adcli.data.defects import KINDS, Measured, measure_defect
from adcli.data.folder import find_images, reading
from adcli.data.left_out import say
from adcli.data.photograph import open_photograph
from adcli.data.source import Decoded, Item
from adcli.data.table import SUFFIXES, list_parts
from adcli.errors import DataError, OptionError, RunError
from adcli.exports.export import Export
from adcli.pipeline._drawing_pass import DrawingPass
from adcli.pipeline._evaluation_pass import read_sample_mask
from adcli.pipeline._held_out import HeldOut, find_held_out
from adcli.pipeline._open import open_scorer
from adcli.pipeline._pages import check_out
from adcli.progress import Progress, Silent
from adcli.report.qualification import Example, QualificationPage, render_qualification, shrink_ground
from adcli.runs.calibrations import now
from adcli.runs.run import Run
from adcli.scoring.detection import (
    CONFIDENCE,
    DRAWS,
    SHARE,
    Detection,
    Drawn,
    Missed,
    Real,
    count_permitted,
    search_sizes,
)
from adcli.scoring.prediction import Prediction
from adcli.scoring.repeats import Agreement, find_agreement
from adcli.scoring.scorer import Scorer, score_joined

SIZES = (3, 5, 8, 13, 22, 36, 60)
CONTRASTS = (12.0, 30.0, 75.0)

LARGEST = 4096
"""Pixels of a drawn defect, at most."""

MOST_DRAWS = 10_000

EXAMPLES = 2
"""Pictures of found defects of each kind, and as many of missed ones."""

TABLE = "table:"


@dataclass(frozen=True)
class Qualification:
    """What a run or an export was found to miss.

    Attributes:
        record: what somebody needs to do it again.
        detections: what may be said of each kind of defect and contrast.
        drawn: every defect that was drawn.
        missed: real defects among the test images, by kind.
        agreement: of photographs of one part; None if none were given.
    """

    record: Mapping[str, Any]
    detections: Sequence[Detection]
    drawn: Sequence[Drawn]
    missed: Sequence[Missed]
    agreement: Agreement | None

    def __repr__(self) -> str:
        known = sum(one.smallest is not None for one in self.detections)
        stated = f"a size is stated for {known} of {len(self.detections)} kinds and contrasts"
        real = count(sum(len(one.defects) for one in self.missed), "real defect") if self.missed else ""
        return introduce(self, "", count(len(self.drawn), "drawn defect"), stated, real)

    def _repr_html_(self) -> str:
        contrasts = list(dict.fromkeys(one.contrast for one in self.detections))
        said = {(one.kind, one.contrast): _say_detection(one) for one in self.detections}
        kinds = dict.fromkeys(one.kind for one in self.detections)
        rows = [(kind, *(said.get((kind, contrast), "") for contrast in contrasts)) for kind in kinds]
        real = "; ".join(f"{one.kind}: {one.count} of {len(one.defects)} missed" for one in self.missed)
        repeated = "" if self.agreement is None else f"{self.agreement.agreeing} of {len(self.agreement.parts)} parts"
        return join_blocks(
            tabulate(("drawn defects", *(f"contrast {value:g}" for value in contrasts)), rows),
            real and f"real defects: {real}",
            repeated and f"verdicts agree for {repeated}",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            **self.record,
            "detections": [_describe_detection(one) for one in self.detections],
            "real_defects": [_describe_missed(one) for one in self.missed],
            "repeats": None if self.agreement is None else _describe_agreement(self.agreement),
        }


def _say_detection(one: Detection) -> str:
    if one.smallest:
        return f"found from {one.smallest} pixels on"
    return f"not shown to {one.first[-1].size} pixels" if one.first else "no room"


def qualify(
    opened: Run | Export,
    out: Path,
    *,
    data: str | None = None,
    repeat: str | None = None,
    sizes: Sequence[int] = SIZES,
    contrasts: Sequence[float] = CONTRASTS,
    draws: int = DRAWS,
    seed: int = 0,
    anywhere: bool = False,
    scorer: Scorer | None = None,
    progress: Progress | None = None,
    command: str = "",
) -> Qualification:
    """Draw defects into good photographs, find from what size on they are found, and write a record to look at.

    Args:
        opened: a finished run, or an export.
        out: the HTML file, which must not be there yet.
        data: good photographs that the model has not seen; when None, those that calibrated the run and its good test
            images.
        repeat: a folder with a folder for each part, or a table with a column ``part``: photographs of the same parts.
        sizes: of drawn defects, in pixels.
        contrasts: of drawn defects, in levels.
        draws: defects that test a size.
        seed: chooses photographs, places and shapes.
        anywhere: whether defects may lie in the background.
        scorer: of ``opened``, if other than the default device, batch size or threads are wanted.
        progress: receives progress and notes.
        command: the command line, for the record.

    Raises:
        OptionError: a size, a contrast or a number cannot be used.
        DataError: there are no good photographs that the model was not fitted to, or all are rejected.
        RunError: there is no threshold.
        StorageError: the record cannot be written, or a file is there.
    """
    progress = progress or Silent()
    _check(opened, sizes, contrasts, draws)
    check_out(out, None)
    parts = _list_repeats(repeat) if repeat is not None else {}
    held_out = find_held_out(opened, data, seed, progress)
    scorer = scorer or open_scorer(opened)
    passing, rejected, unreadable = _score_good(scorer, held_out, progress)
    drawing = DrawingPass(scorer, passing, seed, progress, anywhere=anywhere)
    detections, drawn = search_sizes(KINDS, sorted(contrasts), sorted(sizes), draws, drawing)
    missed = _score_defects(scorer, held_out, progress)
    agreement = _score_repeats(scorer, parts, progress)
    say(scorer.source.left_out, progress.note, "note")
    settings = {
        "sizes": sorted(sizes),
        "contrasts": sorted(contrasts),
        "draws": draws,
        "seed": seed,
        "anywhere": anywhere,
    }
    counts = {
        "photographs": len(passing),
        "rejected_without_defect": rejected,
        "unreadable": unreadable,
        "of": held_out.total,
        "drawn_defects": len(drawn),
        "background": float(np.mean([drawing.background(number) for number in range(len(passing))])),
    }
    record = _make_record(opened, held_out, settings, counts, command)
    found = Qualification(record, detections, drawn, missed, agreement)
    page = QualificationPage(
        found.to_dict(), detections, drawn, missed, agreement, list(_show(drawing, drawn)), _show_ground(drawing)
    )
    with storing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, render_qualification(page))
    return found


def _check(opened: Run | Export, sizes: Sequence[int], contrasts: Sequence[float], draws: int) -> None:
    if not sizes or not all(3 <= size <= LARGEST for size in sizes) or len(set(sizes)) < len(sizes):
        raise OptionError(f"must be different sizes from 3 to {LARGEST} pixels, such as 3,10,30.", option="sizes")
    if not contrasts or not all(1 <= value <= 255 for value in contrasts) or len(set(contrasts)) < len(contrasts):
        raise OptionError("must be different levels from 1 to 255, such as 12,30,75.", option="contrasts")
    least = next(count for count in range(1, MOST_DRAWS) if count_permitted(count) >= 0)
    if not least <= draws <= MOST_DRAWS:
        raise OptionError(
            f"must be from {least}, as fewer cannot show with {CONFIDENCE:.0%} confidence that {SHARE:.0%} are found, "
            f"to {MOST_DRAWS}; not {draws}.",
            option="draws",
        )
    if opened.calibration.image_threshold is None:
        again = quote("adcli", "calibrate", opened.path, "--data", "DIR")
        raise RunError(f"{opened.path}: has no threshold, so that nothing is found or missed; give it one: {again}")


def _list_repeats(reference: str) -> dict[str, list[Path]]:
    """Return the photographs of each part, of which there are several of some."""
    table = reference.removeprefix(TABLE)
    where = f"--repeat {reference}"
    parts: dict[str, list[Path]] = {}
    if reference.startswith(TABLE) or table.lower().endswith(SUFFIXES):
        for path, part in list_parts(Path(table)):
            parts.setdefault(part, []).append(path)
    else:
        folder = Path(reference)
        check_reachable(folder, DataError)
        if not is_folder(folder):
            raise DataError(f"{where}: no such folder; give one with a folder for each part, or table:FILE.")
        with reading(folder):
            parts = {inner.name: find_images(inner) for inner in sorted(folder.iterdir()) if inner.is_dir()}
    if not any(len(photographs) > 1 for photographs in parts.values()):
        raise DataError(f"{where}: has no part with several photographs; give a folder for each part.")
    return parts


def _score_good(scorer: Scorer, held_out: HeldOut, progress: Progress) -> tuple[list[Path], list[str], int]:
    """Return the photographs that pass as they are, the names of those that do not, and how many are unreadable."""
    source, unreadable = scorer.source, list[Path]()

    def load(path: Path) -> Decoded | DataError:
        try:
            # As drawn defects are: decoded whole, whatever the run itself decodes.
            return source.fit(open_photograph(path, white=source.framing.white))
        except DataError as error:
            return error

    def held(loaded: Decoded | DataError) -> int:
        return 0 if isinstance(loaded, DataError) else loaded.pixels.nbytes

    def readable() -> Iterator[tuple[Item, Decoded]]:
        paths = progress.track(held_out.good, len(held_out.good), "good photographs")
        for path, loaded in read_ahead(paths, load, held, source.workers):
            if isinstance(loaded, DataError):
                progress.note(f"unreadable: {loaded.message}")
                unreadable.append(path)
            else:
                yield Item(path), loaded

    scored = [
        (item.path, bool(scorer.calibration.is_defect(score)))
        for item, score in score_joined(scorer.runtime, readable(), scorer.batch_size, scorer.calibration)
    ]
    passing = [path for path, is_defect in scored if not is_defect]
    if not passing:
        raise DataError(
            f"none of {len(held_out.good)} good photographs passes, so that nothing can be found in them; look at "
            "them, or calibrate the run with good photographs of today."
        )
    names = dict(zip(held_out.good, held_out.names, strict=True))
    return passing, [names[path] for path, is_defect in scored if is_defect], len(unreadable)


def _score_defects(scorer: Scorer, held_out: HeldOut, progress: Progress) -> list[Missed]:
    kinds: dict[str, list[Real]] = {}
    samples = held_out.defects
    predictions = progress.track(scorer(sample.image for sample in samples), len(samples), "real defects")
    for sample, prediction in zip(samples, predictions, strict=True):
        if prediction.problem:
            progress.note(f"unreadable: {prediction.problem}")
            continue
        mask, _ = read_sample_mask(sample, prediction.size)
        real = Real(not prediction.is_defect, _measure(prediction, mask))
        kinds.setdefault(sample.defect or "defect", []).append(real)
    return [Missed(kind, tuple(found)) for kind, found in sorted(kinds.items())]


def _measure(prediction: Prediction, mask: Any) -> Measured | None:
    """Return size and contrast of a defect that has a mask of the photograph's size."""
    if mask is None or judge_mask(mask) is not None or mask.shape != prediction.size or not mask.any():
        return None
    return measure_defect(prediction.photograph.pixels, mask)


def _score_repeats(scorer: Scorer, parts: Mapping[str, Sequence[Path]], progress: Progress) -> Agreement | None:
    if not parts:
        return None
    listed = [(part, path) for part, paths in parts.items() for path in paths]
    scores: dict[str, list[float]] = {}
    predictions = progress.track(scorer(path for _, path in listed), len(listed), "repeated photographs")
    for (part, _), prediction in zip(listed, predictions, strict=True):
        if prediction.problem:
            progress.note(f"unreadable: {prediction.problem}")
        else:
            scores.setdefault(part, []).append(prediction.score)
    threshold = scorer.calibration.image_threshold
    assert threshold is not None
    found = find_agreement(threshold, scores)
    if not found.parts:
        raise DataError("--repeat: of no part several photographs can be read.")
    return found


def _show(drawing: DrawingPass, drawn: Sequence[Drawn]) -> Iterator[Example]:
    """Yield of each kind the largest defects that were missed and the smallest that were found, of clear contrast."""
    for kind in KINDS:
        of_kind = [one for one in drawn if one.draw.kind == kind]
        missed = sorted((one for one in of_kind if not one.found), key=lambda one: (-one.draw.contrast, -one.draw.size))
        found = sorted((one for one in of_kind if one.found), key=lambda one: (one.draw.contrast, one.draw.size))
        for one in (*missed[:EXAMPLES], *found[:EXAMPLES]):
            yield Example.of(one, *drawing.draw_again(one))


def _show_ground(drawing: DrawingPass) -> str:
    """Return one of the photographs, on which the page shows where defects were missed."""
    return shrink_ground(open_photograph(drawing.paths[0], white=drawing.scorer.source.framing.white).pixels)


def _make_record(
    opened: Run | Export, held_out: HeldOut, settings: Mapping[str, Any], counts: Mapping[str, Any], command: str
) -> dict[str, Any]:
    """Return what somebody needs to do it again."""
    calibration = opened.calibration
    return {
        "time": now(),
        "command": command,
        "opened": "run" if isinstance(opened, Run) else "export",
        "run": opened.origin.run,
        "weights": opened.origin.model,
        "calibration": {
            "number": calibration.number,
            "digest": calibration.digest,
            "threshold": calibration.image_threshold,
            "promise": calibration.promise(),
        },
        "image_size": list(opened.image_size),
        "versions": dict(_list_versions(opened)),
        "settings": {**settings, "share": SHARE, "confidence": CONFIDENCE},
        "data": {
            "source": held_out.source,
            "fingerprint": held_out.fingerprint,
            "images": [list(pair) for pair in zip(held_out.names, held_out.digests, strict=True)],
            **counts,
        },
    }


def _list_versions(opened: Run | Export) -> Iterator[tuple[str, str]]:
    yield "adcli", __version__
    yield "python", platform.python_version()
    made = opened.record["plugin"] if isinstance(opened, Run) else {}
    for name in ("numpy", "scipy", "pillow", "torch", *([made["distribution"]] if made else [])):
        try:
            yield name, version(name)
        except PackageNotFoundError:
            yield name, "not installed"


def _describe_detection(one: Detection) -> dict[str, Any]:
    def counts(listed: Sequence[Any]) -> list[dict[str, int]]:
        return [count._asdict() for count in listed]

    return {
        "kind": one.kind,
        "contrast": one.contrast,
        "found_from": one.smallest,
        "found_at_least": one.bound,
        "tests": counts(one.tests),
        "first": counts(one.first),
    }


def _describe_missed(one: Missed) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "missed": one.count,
        "of": len(one.defects),
        "interval": list(one.bounds),
        "defects": [
            {"missed": real.missed, "size": real.measured.size, "contrast": round(real.measured.contrast, 1)}
            for real in one.defects
            if real.measured is not None
        ],
    }


def _describe_agreement(found: Agreement) -> dict[str, Any]:
    agreeing, pairs = found.pairs
    return {
        "parts": len(found.parts),
        "agreeing_parts": found.agreeing,
        "interval": list(found.bounds),
        "pairs": pairs,
        "agreeing_pairs": agreeing,
        "spread": found.spread,
        "close_parts": found.close,
        "scores": {part.part: list(part.scores) for part in found.parts},
    }
