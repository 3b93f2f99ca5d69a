"""``metrics.json``: what an evaluation measured, read back as it was written or not at all."""

from pathlib import Path
from typing import Any, TypedDict

from adcli._artefacts import Artefact, load_json
from adcli._artefacts.declaring import Count, Share
from adcli._changes import inside
from adcli._commands import quote
from adcli.errors import RunError

METRICS_FILE = "metrics.json"

_LARGEST = 64 << 20
"""Bytes of the file, at most: it has some for each kind of defect."""


_Measured = TypedDict(
    "_Measured",
    {
        "auroc": Share,
        "average_precision": Share,
        "f1_max": Share,
        "fpr_at_95_tpr": Share,
        "aupro": Share,
        "aupro_0.05": Share,
        "aupimo": Share,
        "unseen": Share,
        "n_good": Count,
        "n_defect": Count,
        "false_alarm_rate": Share,
        "false_alarm_rate_interval": tuple[Share, Share],
        "detection_rate": Share,
        "detection_rate_interval": tuple[Share, Share],
    },
    total=False,
)
"""What is measured of images, of pixels, or of a kind of defect; one name is none that Python has."""


class _Known(TypedDict):
    images: Count
    fitted: Count
    calibrated: Count
    example: str


class _Metrics(TypedDict, total=False):
    image: _Measured
    pixel: _Measured
    defects: dict[str, _Measured]
    known: _Known


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return the metrics of a run, or of an evaluation in it; none if there are none.

    Raises:
        RunError: the file cannot be read, or holds none; the message names the field.
    """
    again = quote("adcli", "evaluate", folder)
    file = Artefact(inside(folder, METRICS_FILE), RunError, f"evaluate the run again: {again}")
    try:
        return dict(load_json(file, _Metrics, _LARGEST))
    except FileNotFoundError:
        return {}
