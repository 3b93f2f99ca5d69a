"""What a run and an export have in common for those who score with them."""

from pathlib import Path
from typing import NamedTuple, Protocol

from adcli._showing import introduce
from adcli.data.decoding import Size
from adcli.data.framing import Framing
from adcli.scoring.calibration import Calibration
from adcli.scoring.runtime import Runtime


class Origin(NamedTuple):
    """Whose model says something: what a verdict is traced back to.

    Attributes:
        run: the name of the run.
        model: the digest of its weights.
        learnt_from: ``"grey"`` or ``"colours"``, if its training images were all of one kind.
    """

    run: str = ""
    model: str = ""
    learnt_from: str = ""

    def __repr__(self) -> str:
        return introduce(self, self.run, self.model and f"weights {self.model[:12]}", self.learnt_from)


UNKNOWN = Origin()


class Opened(Protocol):
    """A run or an export that can score."""

    @property
    def path(self) -> Path:
        """Its folder."""

    @property
    def origin(self) -> Origin:
        """The run, and the weights, that it has or was made from."""

    @property
    def calibration(self) -> Calibration:
        """Threshold, p-values and colours."""

    @property
    def framing(self) -> Framing:
        """What is done to photographs before they are resized."""

    @property
    def image_size(self) -> Size:
        """Height and width of what the runtime takes."""

    def runtime(self, device: str = "auto") -> Runtime:
        """Load what scores images; nothing is downloaded and nothing unpickled."""
