"""Convolutions in 8-bit integers, by post-training quantisation with NNCF."""

import contextlib
import io
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import openvino as ov

from adcli.errors import AdcliError, PluginError
from adcli.exports import Pixels


def quantise(graph: ov.Model, images: Iterable[Pixels], count: int, batch: int, *, fast: bool) -> ov.Model:
    """Return a graph whose networks compute in 8-bit integers, with ranges from good images.

    What comes after the last convolution of a network stays in floating point: distances, densities and flows live
    from small differences of large numbers.

    Args:
        graph: takes float32 images (N, 3, H, W) in [0, 1].
        images: good images of the graph's size, (H, W, 3) uint8.
        count: how many of them to look at.
        batch: how many images the graph takes; they are copies.
        fast: correct convolutions from their own errors, instead of from those of all before them.

    Raises:
        PluginError: nncf is not installed.
        AdcliError: there are no images.
    """
    try:
        import nncf
    except ImportError:
        raise PluginError("-o precision=int8 needs nncf: pip install 'adcli-openvino[int8]'.") from None
    nncf.set_log_level(logging.ERROR)
    taken = [np.stack([image.transpose(2, 0, 1) / np.float32(255)] * batch) for image in islice(images, count)]
    if not taken:
        raise AdcliError("-o precision=int8 needs good images to take ranges from; the run has no calibration images.")
    ignored = nncf.IgnoredScope(names=_after_networks(graph), validate=False)
    # nncf draws progress bars on stdout.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return nncf.quantize(
            graph,
            nncf.Dataset(taken),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(taken),
            fast_bias_correction=fast,
            ignored_scope=ignored,
        )


def _after_networks(graph: ov.Model) -> list[str]:
    """Name what is not to be quantised: all that does not lie between two convolutions."""
    convolutions = [op for op in graph.get_ordered_ops() if _is_network(op)]
    before = _reached(convolutions, lambda op: (value.get_source_output().get_node() for value in op.inputs()))
    after = _reached(
        convolutions, lambda op: (user.get_node() for value in op.outputs() for user in value.get_target_inputs())
    )
    networks = before & after
    return [
        op.get_friendly_name()
        for op in graph.get_ordered_ops()
        if op.get_friendly_name() not in networks and op.get_type_name() not in ("Parameter", "Constant", "Result")
    ]


def _is_network(op: ov.Node) -> bool:
    """Tell a network's convolutions from the blur of a map, which has one channel."""
    if op.get_type_name() not in ("Convolution", "GroupConvolution", "ConvolutionBackpropData"):
        return False
    channels: int = op.input_value(0).get_partial_shape()[1].get_length()
    return op.get_type_name() == "GroupConvolution" or channels > 1


def _reached(start: Iterable[ov.Node], neighbours: Callable[[ov.Node], Iterator[ov.Node]]) -> set[str]:
    """Return the names of all nodes that are reached from some nodes, these included."""
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        op = waiting.pop()
        if op.get_friendly_name() not in found:
            found.add(op.get_friendly_name())
            waiting.extend(neighbours(op))
    return found
