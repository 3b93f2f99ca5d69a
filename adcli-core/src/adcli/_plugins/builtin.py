"""What the core offers itself, through the same hooks as any plugin."""

from pathlib import Path

from adcli.hookspecs import hookimpl
from adcli.options import Options, option
from adcli.specs import BackboneSpec, DatasetSpec, ExecutorSpec


class SplitOptions(Options):
    """Options of data without a split of their own."""

    test_share: float = option(
        0.2, "Share of the good images held out for testing, if the data have no split.", gt=0, lt=1
    )
    seed: int = option(0, "Which of them are held out: seed and content of an image decide.")
    part: str = option("", "Regular expression that finds in an image's name the part it shows; --part sets it.")


class FolderOptions(SplitOptions):
    """Options of ``--data FOLDER``."""

    root: Path | None = option(None, "The folder; --data FOLDER sets it.")


class TableOptions(SplitOptions):
    """Options of ``--data table:FILE``."""

    file: Path | None = option(None, "The table; --data table:FILE sets it.")


class LocalOptions(Options):
    """Options of ``--executor local``."""

    jobs: int | None = option(
        None, "Runs at a time; by default as many as there are GPUs, or else cores and memory for.", ge=1, le=4096
    )


FOLDER_LAYOUT = """\
FOLDER/train/good/ test/good/ test/DEFECT/ ground_truth/DEFECT/STEM_mask.png validation/good/ validation/DEFECT/
FOLDER/good/ DEFECT/ masks/DEFECT/STEM.png
FOLDER/*.png
"""
TABLE_LAYOUT = """\
image,label,split,mask,defect,part              only image is needed
0001.png,good,train,,,
0317.png,defect,test,masks/0317.png,scratch,
"""


@hookimpl
def adcli_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="folder",
            target="adcli.data.folder:load",
            options=FolderOptions,
            summary="A folder of images: train/good + test/DEFECT + ground_truth, good + DEFECT, or only good images",
            layout=FOLDER_LAYOUT,
        ),
        DatasetSpec(
            name="table",
            target="adcli.data.table:load",
            options=TableOptions,
            summary="A table in CSV or JSON lines with the columns image, label, split, mask, defect and part",
            layout=TABLE_LAYOUT,
        ),
        DatasetSpec(
            name="demo",
            target="adcli.data.demo:load",
            options=Options,
            summary="A machined part drawn by code: 100 good to train on, 30 good and 60 defective to test; "
            "demo:large, a board of 12 megapixels with small defects: 40, 20 and 30",
        ),
    ]


@hookimpl
def adcli_executors() -> list[ExecutorSpec]:
    return [
        ExecutorSpec(
            name="local",
            target="adcli.pipeline._local:execute",
            options=LocalOptions,
            summary="Processes on this machine, one for each GPU, or with a share of the cores each",
        )
    ]


@hookimpl
def adcli_backbones() -> list[BackboneSpec]:
    return [
        BackboneSpec(
            name="timm:",
            target="adcli.nn._timm:timm_backbone",
            summary="timm:NAME.TAG, a network of timm with the weights of that tag",
            layers="mostly 4 stages; a transformer's blocks",
        ),
        BackboneSpec(
            name="torchvision:",
            target="adcli.nn._torchvision:torchvision_backbone",
            summary="torchvision:NAME, with torchvision's first ImageNet weights",
            layers="mostly 4 stages",
        ),
        BackboneSpec(
            name="random:",
            target="adcli.nn._timm:random_backbone",
            summary="random:NAME, a network of timm with random weights; for tests, and as a last resort",
            layers="as of timm:NAME",
        ),
    ]
