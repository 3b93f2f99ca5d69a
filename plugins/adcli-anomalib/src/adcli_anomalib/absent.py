"""What stands for anomalib's models where anomalib is not installed."""

from typing import NoReturn

from torch import Tensor

from adcli import PluginError, install_command
from adcli.data import Size
from adcli.nn import Batches, Model
from adcli_anomalib.declared import PeerOptions


class Absent(Model):
    """Says what to install."""

    def __init__(self, options: PeerOptions, *, image_size: Size, pretrained: bool = True) -> None:
        refuse()

    def fit(self, batches: Batches) -> NoReturn:
        refuse()

    def forward(self, images: Tensor) -> NoReturn:
        refuse()


def refuse() -> NoReturn:
    """Raise :class:`PluginError` with the command that installs anomalib."""
    raise PluginError(
        f"anomalib is not installed: {install_command('adcli-anomalib[anomalib]')}; then choose one of "
        "its models with --model anomalib_NAME."
    )
