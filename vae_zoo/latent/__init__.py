"""What one does with the codes of a trained model: functions of a model and tensors, without a Trainer."""

from vae_zoo.latent.arithmetic import AttributeProbe, AttributeVector, analogy, around
from vae_zoo.latent.codes import Codes, encode
from vae_zoo.latent.paths import HOW, between, path, smoothness
from vae_zoo.latent.restoring import DAMAGES, psnr, relabel, restore
from vae_zoo.latent.sketches import Endings, endings, surprise
from vae_zoo.latent.traversal import informative, manifold, traverse

__all__ = [
    "DAMAGES",
    "HOW",
    "AttributeProbe",
    "AttributeVector",
    "Codes",
    "Endings",
    "analogy",
    "around",
    "between",
    "encode",
    "endings",
    "informative",
    "manifold",
    "path",
    "psnr",
    "relabel",
    "restore",
    "smoothness",
    "surprise",
    "traverse",
]
