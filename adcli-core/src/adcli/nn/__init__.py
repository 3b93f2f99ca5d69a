"""What the author of a model or a backbone uses: the contract, batches, backbones, layers and training. Needs torch."""

from adcli.nn import distributed
from adcli.nn._timm import TimmFeatures, random_backbone, timm_backbone
from adcli.nn._torchvision import SequentialFeatures, torchvision_backbone
from adcli.nn.backbones import IMAGENET_MEAN, IMAGENET_STD, Backbone, BackboneRequest, create_backbone
from adcli.nn.batches import Augmentation, Batches, Session
from adcli.nn.components import (
    Principal,
    collect_rows,
    principal_components,
    principal_directions,
    randomised_components,
    streamed_components,
)
from adcli.nn.devices import can_compile_kernels, memory_share, to_float64
from adcli.nn.features import FrozenFeatures, Network
from adcli.nn.labelled import LabelledBatch, LabelledBatches
from adcli.nn.layers import Cover, gaussian_blur, patch_embedding, rotate, upsample, upsample_and_blur
from adcli.nn.model import Model, Scores
from adcli.nn.training import Epochs, Loss, optimise, update_batch_norms
from adcli.nn.weights import Undrawn, load_local_weights

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Augmentation",
    "Backbone",
    "BackboneRequest",
    "Batches",
    "Cover",
    "Epochs",
    "FrozenFeatures",
    "LabelledBatch",
    "LabelledBatches",
    "Loss",
    "Model",
    "Network",
    "Principal",
    "Scores",
    "SequentialFeatures",
    "Session",
    "TimmFeatures",
    "Undrawn",
    "can_compile_kernels",
    "collect_rows",
    "create_backbone",
    "distributed",
    "gaussian_blur",
    "load_local_weights",
    "memory_share",
    "optimise",
    "patch_embedding",
    "principal_components",
    "principal_directions",
    "random_backbone",
    "randomised_components",
    "rotate",
    "streamed_components",
    "timm_backbone",
    "to_float64",
    "torchvision_backbone",
    "update_batch_norms",
    "upsample",
    "upsample_and_blur",
]
