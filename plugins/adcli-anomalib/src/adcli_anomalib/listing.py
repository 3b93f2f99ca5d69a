"""Which models the installed anomalib has, found in its files without importing it."""

import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from adcli import ModelSpec
from adcli_anomalib.declared import PeerOptions, declare_options
from adcli_anomalib.known import MODELS, OTHERS

PREFIX = "anomalib_"
ABSENT = ModelSpec(
    name="anomalib",
    target="adcli_anomalib.absent:Absent",
    options=PeerOptions,
    summary="The models of anomalib, as anomalib_NAME, once adcli-anomalib[anomalib] is installed",
)
"""Stands where the models would, and says what to install."""


@cache
def list_models() -> list[ModelSpec]:
    """Return anomalib's models of images; one that says what to install, if there are none."""
    folder = find_peer()
    return list(_describe_models(folder)) if folder else [ABSENT]


def __getattr__(name: str) -> type[PeerOptions]:
    """Return an options class by its name, for processes that are told the names of classes."""
    for spec in list_models() if name.endswith("Options") else ():
        if spec.options.__name__ == name and issubclass(spec.options, PeerOptions):
            return spec.options
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def find_peer() -> Path | None:
    """Return the folder of the installed anomalib that has its models of images, if there is one."""
    found = find_spec("anomalib")
    places = (found.submodule_search_locations if found else None) or ()
    return next((each for place in places if (each := Path(place, "models", "image")).is_dir()), None)


def _describe_models(folder: Path) -> Iterator[ModelSpec]:
    listed = (folder / "__init__.py").read_text(encoding="utf-8")
    for model, peer in re.findall(r"^from \.(\w+) import (\w+)$", listed, re.MULTILINE):
        source = (folder / model / "lightning_model.py").read_text(encoding="utf-8")
        begins = re.search(rf"^class {peer}\(", source, re.MULTILINE)
        if begins:
            yield _describe(model, peer, source[: begins.start()], source[begins.start() :])


def _describe(model: str, peer: str, above: str, source: str) -> ModelSpec:
    """Return a model's spec, from what its module says above its class, and from the class on."""
    known = MODELS.get(model, OTHERS if "def training_step(" in source else MODELS["winclip"])
    # What cannot be used takes no options; one of them would be a secret.
    options = declare_options(model, peer, "" if known.unusable else source, known)
    paper = re.search(r"https?://arxiv\.org/[\w./]*\w", above + source)
    return ModelSpec(
        name=PREFIX + model,
        target="adcli_anomalib.model:PeerModel",
        options=options,
        summary=f"{peer} of anomalib" + (f", which {known.unusable}" if known.unusable else ""),
        task="segmentation" if known.maps else "classification",
        paper=paper[0] if paper else "",
        image_size=(known.size, known.size),
        one_pass="epochs" not in options.__dataclass_fields__,
        quick=known.quick,
    )
