"""Convolutions in 8-bit integers, by post-training quantisation with NNCF."""

import contextlib
import io
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import openvino as ov

from adcli import AdcliError, PluginError
from adcli.data import Pixels


def quantise(graph: ov.Model, images: Iterable[Pixels], count: int, batch: int) -> ov.Model:
    """Return a graph whose networks compute in 8-bit integers, with ranges from good images.

    A network's first convolution stays in floating point, for pixels brighter than any of the good images would be cut
    off, and all after it see what it sees. So does what comes after the last one: distances, densities and flows live
    from small differences of large numbers. Ranges hold all values that were seen; NNCF's own choice, the mean of the
    images' largest ones, cuts off what sets images apart. Its corrections of convolutions' mean errors are left out:
    they moved scores further than they mended them.

    Args:
        graph: takes float32 images (N, 3, H, W) in [0, 1].
        images: good images of the graph's size, (H, W, 3) uint8.
        count: how many of them to look at.
        batch: how many images the graph takes; they are copies.

    Raises:
        PluginError: nncf is not installed.
        AdcliError: there are no images.
    """
    try:
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    except ImportError:
        raise PluginError("-o precision=int8 needs nncf: pip install 'adcli-openvino[int8]'.") from None
    nncf.set_log_level(logging.ERROR)
    taken = [np.stack([image.transpose(2, 0, 1) / np.float32(255)] * batch) for image in islice(images, count)]
    if not taken:
        raise AdcliError("-o precision=int8 needs good images to take ranges from; the run has no calibration images.")
    ignored = nncf.IgnoredScope(names=_kept(graph), validate=False)
    advanced = AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX, disable_bias_correction=True
    )
    # nncf draws progress bars on stdout.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return nncf.quantize(
            graph,
            nncf.Dataset(taken),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(taken),
            ignored_scope=ignored,
            advanced_parameters=advanced,
        )


def _kept(graph: ov.Model) -> list[str]:
    """Name what is not to be quantised: all but later convolutions, and what lies between two."""
    order = [op for op in graph.get_ordered_ops() if op.get_type_name() not in ("Parameter", "Constant", "Result")]
    follow, precede = _marked(order, _sources), _marked(reversed(order), _users)
    return [
        op.get_friendly_name()
        for op in order
        if op.get_friendly_name() not in follow or not (_is_network(op) or op.get_friendly_name() in precede)
    ]


def _is_network(op: ov.Node) -> bool:
    """Tell a network's convolutions from the blur of a map, which has one channel."""
    if op.get_type_name() not in ("Convolution", "GroupConvolution", "ConvolutionBackpropData"):
        return False
    channels: int = op.input_value(0).get_partial_shape()[1].get_length()
    return op.get_type_name() == "GroupConvolution" or channels > 1


def _marked(order: Iterable[ov.Node], neighbours: Callable[[ov.Node], Iterator[ov.Node]]) -> set[str]:
    """Name the operations that come after a convolution, in an order in which their neighbours come first."""
    marked: set[str] = set()
    for op in order:
        if any(_is_network(other) or other.get_friendly_name() in marked for other in neighbours(op)):
            marked.add(op.get_friendly_name())
    return marked


def _sources(op: ov.Node) -> Iterator[ov.Node]:
    return (value.get_source_output().get_node() for value in op.inputs())


def _users(op: ov.Node) -> Iterator[ov.Node]:
    return (user.get_node() for value in op.outputs() for user in value.get_target_inputs())
