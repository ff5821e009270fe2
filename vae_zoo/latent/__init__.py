"""What one does with the codes of a trained model: functions of a model and tensors, without a Trainer."""

from vae_zoo.latent.anomalies import Anomalies, CodeDistance, detection, heat_map, threshold
from vae_zoo.latent.arithmetic import AttributeProbe, AttributeVector, analogy, around
from vae_zoo.latent.codes import Codes, encode
from vae_zoo.latent.paths import HOW, between, path, smoothness
from vae_zoo.latent.restoring import DAMAGES, psnr, relabel, restore
from vae_zoo.latent.traversal import informative, manifold, traverse

__all__ = [
    "DAMAGES",
    "HOW",
    "Anomalies",
    "AttributeProbe",
    "AttributeVector",
    "CodeDistance",
    "Codes",
    "analogy",
    "around",
    "between",
    "detection",
    "encode",
    "heat_map",
    "informative",
    "manifold",
    "path",
    "psnr",
    "relabel",
    "restore",
    "smoothness",
    "threshold",
    "traverse",
]
