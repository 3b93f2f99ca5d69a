"""Convolutions in 8-bit integers, by post-training quantisation with NNCF."""

import contextlib
import io
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import openvino as ov

from adcli import OptionError, PluginError, install_command
from adcli.data import Pixels


def quantise(graph: ov.Model, images: Iterable[Pixels], count: int, batch: int) -> ov.Model:
    """Return a graph whose networks compute in 8-bit integers, with ranges taken from good images.

    A network's first convolution stays in floating point: in 8 bits, pixels brighter than any in the good images would
    be clipped before anything sees them. What follows the last convolution stays in floating point, too: distances,
    densities and flows depend on small differences of large numbers.

    Ranges cover all values that were seen. NNCF's default, the mean of the images' maxima, clips what makes images
    differ. NNCF's bias correction is off, since it changed scores by more than it repaired.

    Args:
        graph: takes float32 images (N, 3, H, W) in [0, 1].
        images: good images of the graph's size, (H, W, 3) uint8.
        count: how many of them to use.
        batch: how many images the graph takes; each image is repeated that often.

    Raises:
        PluginError: nncf is not installed.
        OptionError: there are no images.
    """
    try:
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    except ImportError:
        raise PluginError(f"-o precision=int8 needs nncf: {install_command('adcli-openvino[int8]')}") from None
    nncf.set_log_level(logging.ERROR)
    taken = [np.stack([image.transpose(2, 0, 1) / np.float32(255)] * batch) for image in islice(images, count)]
    if not taken:
        raise OptionError("takes its ranges from good images; give some with --data DIR.", option="-o precision=int8")
    ignored = nncf.IgnoredScope(names=_name_unquantised(graph), validate=False)
    advanced = AdvancedQuantizationParameters(
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX, disable_bias_correction=True
    )
    # NNCF draws progress bars on stdout.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return nncf.quantize(
            graph,
            nncf.Dataset(taken),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(taken),
            ignored_scope=ignored,
            advanced_parameters=advanced,
        )


def _name_unquantised(graph: ov.Model) -> list[str]:
    """Return the names of the operations to leave alone: all but a network's later convolutions and what lies between.

    An operation is quantised if it follows one convolution and is another, or if it lies between two.
    """
    order = [op for op in graph.get_ordered_ops() if op.get_type_name() not in ("Parameter", "Constant", "Result")]
    follow, precede = _name_followers(order, _sources), _name_followers(reversed(order), _users)
    return [
        op.get_friendly_name()
        for op in order
        if op.get_friendly_name() not in follow or not (_is_convolution(op) or op.get_friendly_name() in precede)
    ]


def _is_convolution(op: ov.Node) -> bool:
    """Tell whether an operation is a convolution of a network, and not the blur of a map, which has one channel."""
    if op.get_type_name() not in ("Convolution", "GroupConvolution", "ConvolutionBackpropData"):
        return False
    channels: int = op.input_value(0).get_partial_shape()[1].get_length()
    return op.get_type_name() == "GroupConvolution" or channels > 1


def _name_followers(order: Iterable[ov.Node], neighbours: Callable[[ov.Node], Iterator[ov.Node]]) -> set[str]:
    """Return the names of the operations that follow a convolution, in an order in which neighbours come first."""
    marked: set[str] = set()
    for op in order:
        if any(_is_convolution(other) or other.get_friendly_name() in marked for other in neighbours(op)):
            marked.add(op.get_friendly_name())
    return marked


def _sources(op: ov.Node) -> Iterator[ov.Node]:
    return (value.get_source_output().get_node() for value in op.inputs())


def _users(op: ov.Node) -> Iterator[ov.Node]:
    return (user.get_node() for value in op.outputs() for user in value.get_target_inputs())
