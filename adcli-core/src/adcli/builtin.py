"""What the core itself offers, through the same hooks as any plugin."""

from pathlib import Path

from adcli.hookspecs import hookimpl
from adcli.options import Options, option
from adcli.specs import BackboneSpec, DatasetSpec


class FolderOptions(Options):
    """Options of ``--data FOLDER``."""

    root: Path | None = option(None, "The folder; --data FOLDER sets it.")


@hookimpl
def adcli_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="folder",
            target="adcli.data.folder:load",
            options=FolderOptions,
            summary="A folder of images: train/good + test/DEFECT + ground_truth, good + DEFECT, or good images only",
        ),
        DatasetSpec(
            name="demo",
            target="adcli.data.demo:load",
            options=Options,
            summary="A machined part drawn by code: 100 good to train on, 30 good and 60 defective to test",
        ),
    ]


@hookimpl
def adcli_backbones() -> list[BackboneSpec]:
    return [
        BackboneSpec(
            name="timm:",
            target="adcli.backbones:timm_backbone",
            summary="timm:NAME.TAG, any network of timm with the weights of that tag",
        ),
        BackboneSpec(
            name="torchvision:",
            target="adcli.backbones:torchvision_backbone",
            summary="torchvision:NAME, with torchvision's first ImageNet weights",
        ),
        BackboneSpec(
            name="random:",
            target="adcli.backbones:random_backbone",
            summary="random:NAME, a network of timm that has learnt nothing; for tests and as the last resort",
        ),
    ]
