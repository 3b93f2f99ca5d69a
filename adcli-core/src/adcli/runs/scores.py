"""``scores.csv``: the scores of labelled images, as runs are compared by them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adcli._changes import inside
from adcli._commands import quote
from adcli.data.part_rule import Scored, join_scored
from adcli.errors import RunError, one_line
from adcli.scoring.verdict import read_table

SCORES_FILE = "scores.csv"

PART = "part "
"""What the name of a part begins with, beside those of images."""


@dataclass(frozen=True)
class LabelledScores:
    """What a table of scores says of labelled images, or of parts if these were judged.

    Attributes:
        scores: by name and label, which is ``"good"`` or ``"defect"``.
        threshold: of all of them; None if there was none, or several.
    """

    scores: Mapping[tuple[str, str], float]
    threshold: float | None

    @property
    def of_parts(self) -> bool:
        """Tell whether parts were judged, and not images."""
        return any(name.startswith(PART) for name, _ in self.scores)


def read_scores(folder: Path) -> LabelledScores:
    """Return the labelled scores in the folder of an evaluation.

    Raises:
        OSError: there is no table, or it cannot be read.
        RunError: it is no table of scores.
    """
    path = inside(folder, SCORES_FILE)
    scores: list[tuple[str, Scored]] = []
    thresholds = set()
    try:
        for record, row in read_table(path):
            if row["label"] not in ("good", "defect", ""):
                raise ValueError(f"label is '{row['label'][:60]}', not 'good', 'defect' or empty")
            if row["label"] and record.score is not None:
                name = f"{PART}{record.part}" if record.part else record.image
                scores.append((name, Scored(record.score, row["label"] == "defect")))
                thresholds.add(record.threshold)
    except (KeyError, ValueError) as error:
        raise RunError(f"{path}: is no table of scores ({one_line(str(error))}); evaluate the run again.") from None
    names = dict.fromkeys(name for name, _ in scores)
    joined = zip(names, join_scored(scores), strict=True)
    table = {(name, "defect" if one.is_defect else "good"): one.score for name, one in joined}
    return LabelledScores(table, thresholds.pop() if len(thresholds) == 1 else None)


def say_missing(run: Path, name: str) -> RunError:
    """Return what to say if a run has no evaluation of a name."""
    command = quote("adcli", "evaluate", run, "--name", name)
    return RunError(f"{run / 'evaluations' / name}: no such evaluation; make it with: {command}")
