"""The files that ``adcli predict`` writes of each image: its picture, its anomaly map, its mask."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from adcli._commands import quote
from adcli.errors import OptionError

if TYPE_CHECKING:
    from adcli.pipeline import Export, Prediction, Run

PICTURES = ("panels", "overlay", "heatmap", "outlines")
MAPS = ("tiff", "npy")
MASKS = ("png",)


@dataclass(frozen=True)
class ImageFiles:
    """What is asked for.

    Attributes:
        picture: what to draw, if anything: one of :data:`PICTURES`.
        maps: the form of the map, if it is written: one of :data:`MAPS`.
        masks: whether the mask is written.
        options: the options that asked for it.
    """

    picture: str
    maps: str
    masks: bool
    options: tuple[str, ...]

    @classmethod
    def asked(cls, overlays: bool, pictures: str | None, maps: str | None, masks: str | None) -> "ImageFiles":
        """Return what options ask for; raises :class:`OptionError` if they ask for two pictures."""
        if overlays and pictures not in (None, "panels"):
            raise OptionError(f"draws panels; give it, or --pictures {pictures}.", option="--overlays")
        given = {"--overlays": overlays, "--pictures": pictures, "--maps": maps, "--masks": masks}
        options = tuple(option for option, value in given.items() if value)
        return cls(pictures or ("panels" if overlays else ""), maps or "", bool(masks), options)

    def check(self, opened: "Run | Export") -> None:
        """Make sure that a run or an export has what the files show.

        Raises:
            OptionError: its model has no anomaly maps, or it has no threshold; the message names the option.
        """
        from adcli.pipeline import has_maps

        alone = self.picture not in ("", "panels") and "--pictures"
        needs_maps = alone or (self.maps and "--maps") or (self.masks and "--masks")
        if needs_maps and not has_maps(opened):
            raise OptionError(f"needs anomaly maps, and the model of {opened.path} only classifies.", option=needs_maps)
        needs_verdicts = (self.masks and "--masks") or (self.picture == "outlines" and "--pictures outlines")
        if needs_verdicts:
            check_threshold(opened, needs_verdicts)

    def write(self, predictions: Iterable["Prediction"], out: Path, paths: tuple[str, ...]) -> Iterable["Prediction"]:
        """Write the files into folders like those below what was given, and pass the predictions on."""
        if not self.options:
            return predictions
        from adcli.data.folder import common_folder
        from adcli.data.written import PICTURES_FOLDER
        from adcli.pipeline import draw

        root = None if "-" in paths else common_folder(paths)
        picture, maps = cast(Any, self.picture), cast(Any, self.maps)
        return draw(predictions, out / PICTURES_FOLDER, root, picture=picture, maps=maps, masks=self.masks)


def check_threshold(opened: "Run | Export", option: str) -> None:
    """Make sure that a run or an export gives verdicts; raises :class:`OptionError` that says who needs them."""
    if opened.calibration.image_threshold is None:
        command = quote("adcli", "calibrate", opened.path, "--data", "DIR")
        raise OptionError(f"needs a threshold, and {opened.path} has none; set one with: {command}", option=option)
