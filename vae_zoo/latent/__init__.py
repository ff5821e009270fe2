"""What one does with the codes of a trained model: functions of a model and tensors, without a Trainer."""

from vae_zoo.latent.arithmetic import AttributeProbe, AttributeVector, analogy, around
from vae_zoo.latent.codes import Codes, encode
from vae_zoo.latent.erasing import Drawers, change, choose, without
from vae_zoo.latent.filters import (
    Strongest,
    activations,
    convolution,
    convolutions,
    guided_backpropagation,
    highest,
    strongest,
    untrained,
)
from vae_zoo.latent.paths import HOW, between, path, smoothness
from vae_zoo.latent.restoring import DAMAGES, psnr, relabel, restore
from vae_zoo.latent.traversal import informative, manifold, traverse

__all__ = [
    "DAMAGES",
    "HOW",
    "AttributeProbe",
    "AttributeVector",
    "Codes",
    "Drawers",
    "Strongest",
    "activations",
    "analogy",
    "around",
    "between",
    "change",
    "choose",
    "convolution",
    "convolutions",
    "encode",
    "guided_backpropagation",
    "highest",
    "informative",
    "manifold",
    "path",
    "psnr",
    "relabel",
    "restore",
    "smoothness",
    "strongest",
    "traverse",
    "untrained",
    "without",
]
