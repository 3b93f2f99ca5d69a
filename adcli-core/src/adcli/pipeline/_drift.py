"""Whether a stream of photographs is still like the good ones that calibrated, and since when not. Without torch."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adcli._commands import install_command
from adcli._files import check_reachable, storing, write_atomically
from adcli._showing import count, introduce, say_number
from adcli.data.left_out import say
from adcli.data.ordering import order_images
from adcli.errors import DataError, OptionError, PluginError, one_line
from adcli.exports.export import Export
from adcli.pictures.cards import embed
from adcli.pipeline._open import open_scorer
from adcli.pipeline._pages import check_out
from adcli.pipeline._predict import predict
from adcli.pipeline._recalibrate import fitted_to
from adcli.progress import Progress, Silent
from adcli.report.drift import GENERATOR, DriftPage, Shown, render_drift
from adcli.runs.run import Run
from adcli.scoring.calibration import Calibration
from adcli.scoring.drift import Change, Drift, Step, bound_chance, find_change
from adcli.scoring.scorer import Scorer
from adcli.scoring.verdict import read_table

BETWEEN = 10_000.0
"""Images between two false alarms: in 1,000 good ones, at most a tenth of all streams has one."""

FEWEST = 10
"""Images between two false alarms, at least."""

SHOWN = 6
"""Images that are named as showing a change."""

FURTHER = 100
"""Images after the alarm that help to tell where the change was; much later ones may be of another one."""

FEWEST_NEIGHBOURS = 30
"""Scores that it takes to say whether neighbours are alike."""

ALIKE = 3.0
"""Standard errors by which the correlation of neighbours is above none before it is said."""


class Unit(NamedTuple):
    """What has one score.

    Attributes:
        name: what tables call it.
        score: of the image.
        path: its file; it may be gone.
    """

    name: str
    score: float
    path: Path

    def __repr__(self) -> str:
        return introduce(self, self.name, say_number("score", self.score))


class _Seen(NamedTuple):
    """A photograph: the part that it shows, its name and file, its score, and what keeps it from counting."""

    part: str
    name: str
    path: Path
    score: float
    lack: str = ""


@dataclass(frozen=True)
class Drifting:
    """What was found in a stream.

    Attributes:
        units: of the stream, in the order of time.
        steps: what the score of each adds.
        calibration: what the stream begins with.
        calibrating: scores of good images that count as earlier than the stream.
        between: images between two false alarms that were asked for.
        order: what the order is, in words.
        left_out: how many images do not count, by reason.
    """

    units: Sequence[Unit]
    steps: Sequence[Step]
    calibration: Calibration
    calibrating: Sequence[float]
    between: float
    order: str
    left_out: Mapping[str, int]

    def __repr__(self) -> str:
        found = "no alarm" if self.alarm is None else f"alarm at {self.units[self.alarm].name[-40:]}"
        return introduce(self, "", count(len(self.units), self.unit), found)

    @property
    def unit(self) -> str:
        """What is counted: ``"image"``, or ``"part"`` if the calibration is one of parts."""
        return self.calibration.unit

    @property
    def scores(self) -> list[float]:
        """The scores, in the order of time."""
        return [unit.score for unit in self.units]

    @cached_property
    def alarm(self) -> int | None:
        """The index of the image at which the alarm is due; None without one."""
        return next((i for i, step in enumerate(self.steps) if step.statistic >= self.between), None)

    @cached_property
    def change(self) -> Change | None:
        """Where the stream changed; None without an alarm."""
        if self.alarm is None:
            return None
        return find_change(self.calibrating, self.scores[: self.alarm + 1 + FURTHER], self.alarm)

    @property
    def largest(self) -> float:
        """The largest value of the statistic."""
        return max(step.statistic for step in self.steps)

    @property
    def chance(self) -> float:
        """With what probability a stream that does not change would show as much, at most."""
        return bound_chance(self.steps)

    @property
    def bound(self) -> float:
        """With what probability a stream as long that does not change raises an alarm, at most."""
        return min(len(self.units) / self.between, 1.0)

    @cached_property
    def shown_by(self) -> list[int]:
        """Indices of the images after the change that show it most, the most extreme one first."""
        if self.change is None:
            return []
        sign = -1 if self.change.rises else 1
        return sorted(range(self.change.first, len(self.units)), key=lambda i: sign * self.units[i].score)[:SHOWN]

    @cached_property
    def usual(self) -> list[int]:
        """Indices of the images before the change whose scores are in the middle, to compare with."""
        count = len(self.units) if self.change is None else self.change.first
        ranked = sorted(range(count), key=lambda i: self.units[i].score)
        start = max((count - SHOWN) // 2, 0)
        return sorted(ranked[start : start + SHOWN])

    @cached_property
    def likeness(self) -> float | None:
        """The correlation of the ranks of neighbours before the change, if they are alike; None if not."""
        stream = self.scores[: len(self.units) if self.change is None else self.change.first]
        if len(stream) < FEWEST_NEIGHBOURS or min(stream) == max(stream):
            return None
        ranks = np.argsort(np.argsort(stream, kind="stable"))
        found = float(np.corrcoef(ranks[:-1], ranks[1:])[0, 1])
        return found if found > ALIKE / math.sqrt(len(stream)) else None

    def describe(self, start: int, stop: int) -> dict[str, float | int | None]:
        """Return the number, the median score, and the share rejected, of some images in a row."""
        scores = self.scores[start:stop]
        verdicts = [self.calibration.is_defect(score) for score in scores]
        return {
            "images": len(scores),
            "median": float(np.median(scores)) if scores else None,
            "rejected": None if None in verdicts or not scores else sum(map(bool, verdicts)) / len(scores),
        }

    def say(self) -> list[tuple[str, str]]:
        """Return what was found, as facts: a name and a sentence each."""
        lines = [(f"{self.unit}s", self._say_units())]
        if self.alarm is None or self.change is None:
            lines += [("drift", f"none found: R reached {self.largest:.3g}, and {self.between:.6g} is an alarm")]
        else:
            lines += self._say_change(self.change, self.alarm)
        return [*lines, ("bound", self._say_bound())]

    def _say_units(self) -> str:
        count = f"{len(self.units)} in {self.order}, after {len(self.calibrating)} good ones that calibrate"
        return "; ".join([count, *(f"left out {count} that {reason}" for reason, count in self.left_out.items())])

    def _say_change(self, change: Change, alarm: int) -> list[tuple[str, str]]:
        since, how = self.units[change.first], "higher" if change.rises else "lower"
        names = ", ".join(f"{self.units[i].name} ({self.units[i].score:.6g})" for i in self.shown_by)
        span = f"95 %: {change.earliest + 1} to {change.latest + 1}"
        chance = f"with a probability of at most {self.chance:.2g}"
        return [
            ("drift", f"scores are {how} from {self.unit} {change.first + 1} on, {since.name} ({span})"),
            ("sure", f"if nothing had changed, R would get to {self.largest:.3g} {chance}"),
            ("alarm", f"due at {self.unit} {alarm + 1}, {self.units[alarm].name}, where R reached {self.between:.6g}"),
            ("until then", self._say_part(0, change.first)),
            ("since then", self._say_part(change.first, len(self.units))),
            ("shown by", names),
        ]

    def _say_part(self, start: int, stop: int) -> str:
        part = self.describe(start, stop)
        if part["median"] is None:
            return f"none of these {self.unit}s"
        rejected = "" if part["rejected"] is None else f", {part['rejected']:.1%} rejected"
        return f"{stop - start} {self.unit}{'s' * (stop - start > 1)}, median score {part['median']:.6g}{rejected}"

    def _say_bound(self) -> str:
        text = f"in so many {self.unit}s, a false alarm has a probability of at most {self.bound:.2g}"
        if self.bound == 1:
            text = f"in so many {self.unit}s, a false alarm is to be expected; ask for fewer with --alarms"
        if self.likeness is not None:
            return (
                f"{text} - but not here: neighbours are alike (correlation {self.likeness:.2f}), as in batches and "
                "slow cycles, and false alarms are far more frequent"
            )
        return f"{text}, if their order does not matter; in batches and slow cycles they are far more frequent"

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints; images, or parts if the unit is one, are counted from 1."""
        change, alarm = self.change, self.alarm
        return {
            "unit": self.unit,
            "images": len(self.units),
            "order": self.order,
            "calibrating": len(self.calibrating),
            "left_out": dict(self.left_out),
            "between": self.between,
            "statistic": self.largest,
            "bound": self.bound,
            "chance": self.chance,
            "neighbours_alike": self.likeness,
            "drift": alarm is not None,
            "alarm": None if alarm is None else self._place(alarm),
            "since": None
            if change is None
            else {
                **self._place(change.first),
                "earliest": change.earliest + 1,
                "latest": change.latest + 1,
                "scores": "higher" if change.rises else "lower",
            },
            "before": self.describe(0, len(self.units) if change is None else change.first),
            "after": None if change is None else self.describe(change.first, len(self.units)),
            "shown_by": [self._place(i) for i in self.shown_by],
        }

    def _place(self, index: int) -> dict[str, Any]:
        unit = self.units[index]
        return {"number": index + 1, "image": unit.name, "path": str(unit.path), "score": unit.score}


def drift(
    opened: Run | Export,
    data: str | None = None,
    data_options: Mapping[str, Any] | None = None,
    *,
    scores: Path | None = None,
    between: float = BETWEEN,
    out: Path | None = None,
    scorer: Scorer | None = None,
    progress: Progress | None = None,
) -> Drifting:
    """Tell whether images in the order of time have changed, since when, and which of them show it.

    With a calibration of parts, they are parts. Images that the model was fitted to, or that calibrate, are left out.
    The scores of folds are those of other models: with such a calibration, a change is one within the stream.

    Args:
        opened: a finished run, or an export.
        data: the images, as ``--data`` takes them: rows of a table, or files in the natural order of their paths.
        data_options: of the data set.
        scores: instead of ``data``, a table that ``adcli predict`` wrote with the same run or export.
        between: how many images lie between two false alarms, on average and at least.
        out: an HTML file that is to show it.
        scorer: of ``opened``, if other than the default device, batch size or threads are wanted.
        progress: receives progress and notes.

    Raises:
        OptionError: neither data nor scores are given, or both, or too few images between two alarms.
        DataError: an image or the table cannot be read, or no image is left.
        StorageError: the page cannot be written.
    """
    progress = progress or Silent()
    _check_request(data, scores, between, out)
    if scores is not None:
        seen, order = _read_scores(opened, scores)
    else:
        assert data is not None
        seen, order = _score(opened, data, dict(data_options or {}), scorer or open_scorer(opened), progress)
    units, left_out = _join_parts(seen, opened.calibration)
    if not units:
        raise _nothing_left(_name(data, scores), left_out, opened.calibration.unit)
    calibrating = _choose_calibrating(opened.calibration, progress)
    state = Drift.begin(calibrating)
    steps = [state.add(unit.score) for unit in units]
    found = Drifting(units, steps, opened.calibration, calibrating, between, order, left_out)
    if out is not None:
        _draw(found, out, _name(data, scores), opened.path.name)
    return found


def _nothing_left(where: str, left_out: Mapping[str, int], unit: str) -> DataError:
    """Return the error of a stream in which nothing counts, with what each did that keeps it from counting."""
    if not left_out:
        return DataError(f"{where}: has no rows of images; give the predictions.csv that 'adcli predict' wrote.")
    reasons = ", ".join(f"{count} that {reason}" for reason, count in left_out.items())
    return DataError(f"{where}: no {unit} is left to look at: left out {reasons}; give others, or more of them.")


def _name(data: str | None, scores: Path | None) -> str:
    return f"--data {data}" if scores is None else str(scores)


def _check_request(data: str | None, scores: Path | None, between: float, out: Path | None) -> None:
    if (data is None) == (scores is None):
        raise OptionError("give images with --data REF, or a table of adcli predict with --scores FILE: one of them.")
    if not between >= FEWEST or math.isinf(between):
        raise OptionError(
            f"must leave {FEWEST} images or more between two false alarms, not {between:g}.", option="alarms"
        )
    if out is not None:
        check_out(out, GENERATOR)
        if find_spec("matplotlib") is None:
            raise PluginError(f"--out {out}: a page needs the package 'matplotlib': {install_command('matplotlib')}")


def _choose_calibrating(calibration: Calibration, progress: Progress) -> Sequence[float]:
    """Return the scores that a stream is compared with from its first image on."""
    if not calibration.n:
        progress.note("no good images calibrate, so that only a change within the images is found")
        return ()
    if calibration.chosen_by == "k-fold":
        progress.note(
            "the scores that calibrate are those of folds, whose models are others, so that only a change within the "
            "images is found; calibrate with good images for one that came before"
        )
        return ()
    return calibration.image_scores


def _join_parts(seen: Sequence[_Seen], calibration: Calibration) -> tuple[list[Unit], dict[str, int]]:
    """Return what has one score each, and how many do not count, by reason.

    If the calibration is one of parts, these are parts in the order of their first photographs, with the largest of
    their scores. A part of which a photograph is missing or does not count does not count either.
    """
    rule, parts = calibration.parts, dict[str, list[_Seen]]()
    for number, one in enumerate(seen):
        key = f"{number}" if rule is None else one.part or f"/{one.name}"
        parts.setdefault(key, []).append(one)
    units, left_out = list[Unit](), dict[str, int]()
    for views in parts.values():
        lack = next((one.lack for one in views if one.lack), "")
        if rule is not None and not lack and rule.views:
            lack = _find_lack(len({one.name for one in views}), rule.views)
        if lack:
            left_out[lack] = left_out.get(lack, 0) + 1
            continue
        oddest = max(views, key=lambda one: one.score)
        units.append(Unit(oddest.part or oddest.name, oddest.score, oddest.path))
    return units, left_out


def _find_lack(count: int, views: int) -> str:
    """Return what is wrong with the number of a part's photographs; nothing if it is right."""
    if count == views:
        return ""
    return "lack photographs" if count < views else "have too many photographs"


def _score(
    opened: Run | Export, data: str, options: dict[str, Any], scorer: Scorer, progress: Progress
) -> tuple[list[_Seen], str]:
    """Score the images of a data set in the order of time."""
    ordered = order_images(data, options)
    say(ordered.left_out, progress.note)
    calibration = opened.calibration
    known = {"the model is fitted to": fitted_to(opened), "calibrate": {*calibration.digests, *calibration.others}}
    seen = []
    predictions = predict(scorer, list(ordered.images), progress=progress)
    for image, name, found in zip(ordered.images, ordered.names, predictions, strict=True):
        if found.problem and not scorer.source.skip_unreadable:
            raise DataError(found.problem, remedy="Mend it, or leave it out with --skip-unreadable.")
        lack = "cannot be read" if found.problem else _find_reason(found.digest, known)
        part = "" if calibration.parts is None else ordered.parts.get(image, found.part)
        seen.append(_Seen(part, name, image, found.score, lack))
    say(scorer.source.left_out, progress.note, "note")
    return seen, ordered.order


def _find_reason(digest: str, known: Mapping[str, Collection[str]]) -> str:
    """Return what an image does that keeps its score from counting; nothing if it counts."""
    return next((reason for reason, digests in known.items() if digest in digests), "")


def _read_scores(opened: Run | Export, table: Path) -> tuple[list[_Seen], str]:
    """Read the scores of a table that this run or export wrote."""
    check_reachable(table, DataError)
    seen = []
    try:
        for number, (record, _) in enumerate(read_table(table), 1):
            if not record.image:
                # The row of a part, which its photographs tell.
                continue
            part = record.part if opened.calibration.parts else ""
            lack = "cannot be read" if record.score is None else ""
            if not lack:
                row = f"{table}: row {number} ({one_line(record.image)})"
                _check_row(opened, record.model, record.calibration, row)
            seen.append(_Seen(part, record.image, Path(record.image), record.score or 0.0, lack))
    except FileNotFoundError:
        raise DataError(f"{table}: no such file; give the predictions.csv that 'adcli predict' wrote.") from None
    except OSError as error:
        raise DataError(f"{table}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise DataError(
            f"{table}: {one_line(str(error))}; give the predictions.csv that 'adcli predict' wrote."
        ) from None
    return seen, "the order of the table's rows"


def _check_row(opened: Run | Export, model: str, calibration: str, row: str) -> None:
    """Make sure that a score can be compared with those that calibrate; with zones, it depends on them."""
    if model != opened.origin.model:
        raise DataError(f"{row}: was scored by another model than that of {opened.path}; score again with --data.")
    if opened.calibration.zones and calibration != opened.calibration.digest:
        raise DataError(f"{row}: was scored with another calibration of the zones; score again with --data.")


def _draw(found: Drifting, out: Path, what: str, run: str) -> None:
    """Write the page."""
    change = found.change
    page = DriftPage(
        title=what.removeprefix("--data "),
        run=run,
        lines=found.say(),
        scores=found.scores,
        statistics=[step.statistic for step in found.steps],
        between=found.between,
        threshold=found.calibration.image_threshold,
        calibrating=found.calibrating,
        change=change,
        usual=_show(found, found.usual),
        shown=_show(found, found.shown_by),
    )
    with storing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, render_drift(page))


def _show(found: Drifting, indices: Sequence[int]) -> list[Shown]:
    """Return pictures of some images; those whose files are gone have none."""
    shown = []
    for i in indices:
        unit = found.units[i]
        try:
            picture = embed(unit.path)
        except DataError:
            picture = ""
        shown.append(Shown(i + 1, unit.name, unit.score, picture))
    return shown
