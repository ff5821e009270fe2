"""What one does with the codes of a trained model: functions of a model and tensors, without a Trainer."""

from vae_zoo.latent.anomalies import Anomalies, CodeDistance, detection, heat_map, heat_top, threshold
from vae_zoo.latent.arithmetic import AttributeProbe, AttributeVector, analogy, around
from vae_zoo.latent.codes import Codes, encode, weights_of
from vae_zoo.latent.duplicates import PictureHash, find_duplicates
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
from vae_zoo.latent.maps import (
    PROJECTIONS,
    Projection,
    coverage,
    draw_map,
    label_accuracy,
    lifted,
    mass_levels,
    placed,
    project,
    projected_prior,
    samples_of,
    strays,
)
from vae_zoo.latent.paths import HOW, between, path, smoothness
from vae_zoo.latent.priors import KINDS, fit_flow, fit_mixture
from vae_zoo.latent.restoring import DAMAGES, psnr, relabel, restore
from vae_zoo.latent.sketches import Endings, endings, surprise
from vae_zoo.latent.traversal import extent, informative, manifold, spread, traverse
from vae_zoo.neighbours import Memorised, Nearest, memorised, nearest

__all__ = [
    "Anomalies",
    "AttributeProbe",
    "AttributeVector",
    "CodeDistance",
    "Codes",
    "DAMAGES",
    "Drawers",
    "Endings",
    "HOW",
    "KINDS",
    "Memorised",
    "Nearest",
    "PROJECTIONS",
    "PictureHash",
    "Projection",
    "Strongest",
    "activations",
    "analogy",
    "around",
    "between",
    "change",
    "choose",
    "convolution",
    "convolutions",
    "coverage",
    "detection",
    "draw_map",
    "encode",
    "endings",
    "extent",
    "find_duplicates",
    "fit_flow",
    "fit_mixture",
    "guided_backpropagation",
    "heat_map",
    "heat_top",
    "highest",
    "informative",
    "label_accuracy",
    "lifted",
    "manifold",
    "mass_levels",
    "memorised",
    "nearest",
    "path",
    "placed",
    "project",
    "projected_prior",
    "psnr",
    "relabel",
    "restore",
    "samples_of",
    "smoothness",
    "spread",
    "strays",
    "strongest",
    "surprise",
    "threshold",
    "traverse",
    "untrained",
    "weights_of",
    "without",
]
