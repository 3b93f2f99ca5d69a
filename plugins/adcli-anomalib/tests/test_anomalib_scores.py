"""What anomalib's models say through adcli is what they say through anomalib's own engine."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("anomalib", reason="anomalib is not installed: nox -s anomalib")

from adcli.data import items_of, read_image
from adcli.nn import Batches
from adcli.testing import textured_batches
from adcli_anomalib.building import supplying
from adcli_anomalib.listing import list_models
from adcli_anomalib.model import PeerModel

SIZE = (64, 64)
SMALL = {
    "padim": {},
    "patchcore": {"backbone": "resnet18"},
    "stfpm": {"epochs": 2},
    "fastflow": {"epochs": 2, "flow_steps": 2},
    "ganomaly": {"epochs": 2},
}
"""Options of models that draw nothing while they train, from what they draw when they are made."""


def make(name: str, size: tuple[int, int], **options: Any) -> PeerModel:
    """Make a model with random weights."""
    (spec,) = (spec for spec in list_models() if spec.name == f"anomalib_{name}")
    draw_alike()
    return PeerModel(spec.options.parse({"pre_trained": False, **options}), image_size=size)


def draw_alike() -> None:
    """Seed all that anomalib draws from."""
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


class Ordered:
    """The batches of adcli, in its order, as a loader of anomalib's engine; its pre-processor normalises them."""

    def __init__(self, batches: Batches, *, shuffled: bool) -> None:
        self.batches = batches
        self.shuffled = shuffled
        self.epoch = -1

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        from anomalib.data import ImageBatch

        # The engine does not ask for more than there is, so that nothing after the last batch would be done.
        self.epoch += 1
        for images in self.batches.shuffled(self.epoch) if self.shuffled else self.batches:
            yield ImageBatch(
                image=images.clone(memory_format=torch.contiguous_format),
                gt_label=torch.zeros(len(images), dtype=torch.bool),
                gt_mask=torch.zeros(len(images), *SIZE, dtype=torch.bool),
            )


def train_by_engine(model: PeerModel, batches: Batches, folder: Path) -> tuple[Any, Any]:
    """Return anomalib's engine and its own module, trained from the start that a model of ours has."""
    from anomalib.data import Folder
    from anomalib.engine import Engine

    (module,) = model.trained_by
    with supplying(None, nothing=True):
        peer = type(module)(
            **module.hparams,
            pre_processor=type(module).configure_pre_processor(image_size=model.image_size),
            post_processor=False,
            evaluator=False,
            visualizer=False,
        )
    peer.model.load_state_dict(model.network.state_dict())
    learns = hasattr(model.options, "epochs")
    limits = {"max_epochs": model.options.epochs} if learns else {}
    engine = Engine(accelerator="cpu", devices=1, logger=False, default_root_dir=folder, **limits)

    class Data(Folder):
        def train_dataloader(self) -> Ordered:
            return Ordered(batches, shuffled=learns)

        def val_dataloader(self) -> Ordered:
            return Ordered(batches, shuffled=False)

    root, kept = batches.items[0].path.parent, {"val_split_mode": "none", "test_split_mode": "none"}
    data = Data(name="parts", root=root.parent, normal_dir=root.name, num_workers=0, **kept)
    engine.fit(peer, datamodule=data)
    return engine, peer


@pytest.mark.parametrize("name", SMALL)
def test_scores_are_those_of_anomalibs_engine(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted, tested = tmp_path / "fitted", tmp_path / "tested"
    for folder, count in ((fitted, 8), (tested, 12)):
        folder.mkdir()
        batches = textured_batches(folder, count, SIZE, batch_size=4)
    for item in batches.items[:8]:
        item.path.unlink()
    batches = Batches(items_of(sorted(fitted.iterdir())), batches.source, batch_size=4)
    model = make(name, SIZE, **SMALL[name])
    _draw_alike_before_fits(type(model.trained_by[0]), monkeypatch)
    engine, peer = train_by_engine(model, batches, tmp_path / "engine")
    draw_alike()
    model.fit(batches)

    pixels = [torch.from_numpy(read_image(path).copy()) for path in sorted(tested.iterdir())]
    with torch.inference_mode():
        ours = model(torch.stack(pixels).permute(0, 3, 1, 2).contiguous() / 255)
    theirs = engine.predict(peer, data_path=tested, return_predictions=True)
    scores = torch.cat([batch.pred_score.flatten() for batch in theirs])
    assert len(scores) == 4
    assert ours.image.tolist() == pytest.approx(scores.tolist(), rel=1e-5, abs=1e-5)
    if ours.map is not None:
        maps = torch.cat([batch.anomaly_map.reshape(-1, 1, *SIZE) for batch in theirs])
        torch.testing.assert_close(ours.map, maps, rtol=1e-5, atol=1e-5 * float(maps.abs().max()))


def _draw_alike_before_fits(module: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a model that fits once, in whoever's hands, draw the same."""
    fit = getattr(module, "fit", None)
    if fit is not None:
        monkeypatch.setattr(module, "fit", lambda self: (draw_alike(), fit(self)))
