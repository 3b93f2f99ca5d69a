"""GANomaly: good images survive encoding and decoding with the same code; others do not.

Akcay et al., ACCV 2018, arXiv 1805.06725. Networks, losses and optimisers are those of the official code: features of
the discriminator are matched in the mean square, reconstructions in the absolute and codes in the mean square; images
lie in [-1, 1], as decoded ones do. Three things differ:

- scores are computed in evaluation mode, with statistics of the training images. The official test uses those of the
  test batch, so that a score depends on its neighbours. As running averages lag behind the weights, they are computed
  again when these are final;
- scores are not stretched to the range of the test set;
- the number of passes: the official 15 are for tens of thousands of images; a few hundred need more passes for as many
  steps. With the official constant step size, the codes of good images keep moving with every step, which hides the
  score if steps are few; ``schedule=cosine`` lets them come to rest.

One backward pass serves both networks: the generator's losses see the discriminator's parameters as constants, and the
discriminator's loss sees the reconstruction as one. Both are computed before either network changes, as in the official
code, so that one step of one Adam is its two steps.
"""

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from adcli.data import Size
from adcli.nn import Batches, Model, Scores, optimise, update_batch_norms
from adcli_ganomaly import GanomalyOptions
from adcli_ganomaly.networks import Discriminator, Generator, Pyramid, initialise

BETAS = (0.5, 0.999)
"""Adam's, in the official code."""

COLLAPSED = 1e-5
"""Loss of the discriminator below which it is drawn anew, since it teaches nothing; the official value."""


class Ganomaly(Model):
    """GANomaly; see the module for the choices made.

    Buffers:
        collapsed: whether the discriminator is to be drawn anew before the next step.
    """

    collapsed: Tensor

    def __init__(self, options: GanomalyOptions, *, image_size: Size, pretrained: bool = True) -> None:
        super().__init__(options, image_size=image_size, pretrained=pretrained)
        self.pyramid = Pyramid(image_size, options.features)
        self.generator = Generator(self.pyramid, options.latent)
        self.discriminator = Discriminator(self.pyramid)
        initialise(self.generator)
        initialise(self.discriminator)
        self.register_buffer("collapsed", torch.tensor(False))

    def fit(self, batches: Batches) -> None:
        """Train generator and discriminator against each other, then set the statistics that scores need."""
        epochs = self.options.epochs
        optimizer = torch.optim.Adam(self.parameters(), lr=self.options.learning_rate, betas=BETAS, fused=True)
        cosine = CosineAnnealingLR(optimizer, epochs) if self.options.schedule == "cosine" else None
        optimise(
            self,
            self.loss,
            batches,
            optimizer=optimizer,
            epochs=epochs,
            scheduler=cosine,
            measure=self.restoration_loss,
        )
        update_batch_norms(self.generator, (self._prepare(images) for images in batches.sharded().shuffled(epochs)))
        self.requires_grad_(False)

    def loss(self, images: Tensor) -> Tensor:
        """Return the losses of both networks, added; no parameter gets a gradient from both."""
        if self.collapsed:
            initialise(self.discriminator)
        images = self._prepare(images)
        restored, code, code_again = self.generator(images)
        deceived = self.discriminator_loss(images, restored.detach())
        self.collapsed = deceived.detach() < COLLAPSED
        return self.generator_loss(images, restored, code, code_again) + deceived

    def generator_loss(self, images: Tensor, restored: Tensor, code: Tensor, code_again: Tensor) -> Tensor:
        """Return the weighted sum of the generator's three losses (paper, Eq. 4)."""
        constants = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        real, fake = (functional_call(self.discriminator, constants, part)[1] for part in (images, restored))
        adversarial = F.mse_loss(fake, real)
        contextual = F.l1_loss(restored, images)
        encoder = F.mse_loss(code_again, code)
        options = self.options
        weighted: Tensor = (
            options.adversarial_weight * adversarial
            + options.contextual_weight * contextual
            + options.encoder_weight * encoder
        )
        return weighted

    def restoration_loss(self, images: Tensor) -> Tensor:
        """Return the mean absolute difference between images and what is made of them."""
        images = self._prepare(images)
        return F.l1_loss(self.generator(images)[0], images)

    def discriminator_loss(self, images: Tensor, restored: Tensor) -> Tensor:
        """Return the mean cross entropy of telling images from reconstructions."""
        real, fake = self.discriminator(images)[0], self.discriminator(restored)[0]
        wrong = [F.binary_cross_entropy_with_logits(real, torch.ones_like(real))]
        wrong.append(F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake)))
        return torch.stack(wrong).mean()

    def forward(self, images: Tensor) -> Scores:
        _, code, code_again = self.generator(self._prepare(images))
        return Scores((code - code_again).square().mean(dim=(1, 2, 3)))

    def _prepare(self, images: Tensor) -> Tensor:
        """Scale images to [-1, 1], and continue them beyond their right and lower edge to the networks' size."""
        height, width = (padded - side for padded, side in zip(self.pyramid.padded, self.pyramid.image, strict=True))
        images = F.pad(images, (0, width, 0, height), mode="replicate") if height or width else images
        return 2 * images - 1
