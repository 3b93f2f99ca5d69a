"""What parts that were drawn at random, and looked at, say of those that a threshold accepts."""

from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from adcli._artefacts.declaring import Count, closed
from adcli.scoring.calibration import USUAL_CONFIDENCE


@closed
class StoredAudit(TypedDict):
    """An audit as it is written."""

    threshold: float
    good: Count
    defective: Count
    alarms: Count
    missed: Count
    estimated: bool


@dataclass(frozen=True)
class Audit:
    """What a threshold did with labelled parts that were drawn at random from the line.

    Attributes:
        threshold: it.
        good: how many of the parts are good.
        defective: how many are defective.
        alarms: how many of the good ones it rejects.
        missed: how many of the defective ones it accepts.
        estimated: whether the threshold depends on these parts, so that the bound is an estimate.
    """

    threshold: float
    good: int
    defective: int
    alarms: int
    missed: int
    estimated: bool = False

    @property
    def accepted(self) -> int:
        """Number of parts that the threshold accepts."""
        return self.good - self.alarms + self.missed

    @property
    def at_most(self) -> float:
        """What the share of defective parts among the accepted ones does not exceed, with 95 % confidence; exact."""
        from adcli.metrics import upper_bound

        return upper_bound(self.missed, self.accepted, USUAL_CONFIDENCE) if self.accepted else 1.0

    def say(self) -> str:
        """Return what was found, in sentences."""
        found, about = self.defective - self.missed, "about " * self.estimated
        bound = f"with {USUAL_CONFIDENCE:.0%} confidence {about}at most {self.at_most:.2%}"
        if not self.accepted:
            return f"{self.threshold:.6g} rejects all {self.good + self.defective} parts."
        return (
            f"{self.threshold:.6g} finds {found} of {self.defective} defective parts and rejects {self.alarms} of "
            f"{self.good} good ones. Of the {self.accepted} that it accepts, {self.missed} are defective: "
            f"{self.missed / self.accepted:.2%}, {bound}{self._say_why()}."
        )

    def _say_why(self) -> str:
        return " (an estimate, since the threshold depends on these parts)" if self.estimated else ""

    def say_briefly(self) -> str:
        """Return the bound in a few words."""
        about = "about " * self.estimated
        return f"of {self.accepted} accepted by {self.threshold:.6g}, {about}at most {self.at_most:.2%} defective"

    def to_dict(self) -> dict[str, Any]:
        """Return what is kept of it."""
        return asdict(self)

    def describe(self) -> dict[str, Any]:
        """Return all that it says, as plain values."""
        return {**asdict(self), "accepted": self.accepted, "at_most": self.at_most, "confidence": USUAL_CONFIDENCE}
