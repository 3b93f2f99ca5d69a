"""One of anomalib's models as a model of adcli: its network scores, and its module trains the network."""

import torch
from torch import Tensor

from adcli import OptionError
from adcli.data import Size
from adcli.nn import Batches, Model, Scores, upsample
from adcli_anomalib.building import blaming, build_peer, list_normalisations, quiet
from adcli_anomalib.declared import PeerOptions
from adcli_anomalib.known import MODELS, OTHERS
from adcli_anomalib.training import train_peer


class PeerModel(Model):
    """A model of anomalib's; its scores are those that anomalib gives before it scales and clips them."""

    mean: Tensor
    std: Tensor

    def __init__(self, options: PeerOptions, *, image_size: Size, pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        self.known = MODELS.get(options.peer[0], OTHERS)
        module = build_peer(options, image_size, pretrained=pretrained)
        self.network = module.model
        # In a tuple, it is no part of this module: what it has beside the network is for training alone.
        self.trained_by = (module,)
        steps = list_normalisations(module.pre_processor)
        for name, default in (("mean", 0.0), ("std", 1.0)):
            values = torch.tensor(getattr(steps[0], name) if steps else [default] * 3)
            self.register_buffer(name, values.view(3, 1, 1), persistent=False)

    def fit(self, batches: Batches) -> None:
        """Train as anomalib does."""
        if batches.session.patience:
            raise OptionError(
                "is not for anomalib's models, which it trains itself; leave it out.", option="--patience"
            )
        (module,) = self.trained_by
        epochs, steps = getattr(self.options, "epochs", None), getattr(self.options, "steps", None)
        with quiet(), blaming(self.options.peer[0], self.image_size, (ValueError,)):
            train_peer(module, batches, self.normalise, epochs=epochs, steps=steps, held_out=self.known.held_out)
        self.requires_grad_(False)
        self.eval()

    def normalise(self, images: Tensor) -> Tensor:
        """Return images in [0, 1] as anomalib's pre-processor would give them to the network."""
        # anomalib reads images one channel after the other, and some of its models need them so.
        return ((images - self.mean) / self.std).contiguous()

    def forward(self, images: Tensor) -> Scores:
        normalised = self.normalise(images)
        if not self.known.alone:
            return self._score(normalised)
        single = [self._score(image) for image in torch.split(normalised, 1)]
        maps = [each.map for each in single if each.map is not None]
        return Scores(torch.cat([each.image for each in single]), torch.cat(maps) if maps else None)

    def _score(self, normalised: Tensor) -> Scores:
        """Return what the network says; where it has no score of an image, its map's highest value stands for it."""
        said = self.network(normalised)
        score, found = said[:2] if type(said) is tuple else (said.pred_score, said.anomaly_map)
        count, _, height, width = normalised.shape
        maps = None if found is None else found.float().reshape(count, 1, *found.shape[-2:])
        if score is None:
            if maps is None:
                raise OptionError(f"{self.options.peer[1]} gives neither scores nor maps with these options.")
            score = maps.flatten(1).amax(dim=1)
        if maps is not None and maps.shape[-2:] != normalised.shape[-2:]:
            maps = upsample(maps, (height, width))
        return Scores(score.float().reshape(count), maps if self.known.maps else None)
