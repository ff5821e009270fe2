"""What is measured, the same for every model: each figure is a class of its own, a torchmetrics Metric."""

from vae_zoo.metrics.base import ImageFigure, Measure, ModelFigure
from vae_zoo.metrics.codes import ActiveUnits, CodeMMD, active_units, code_mmd
from vae_zoo.metrics.density import ELBO, KL, NLL, BitsPerDim, KLShare, bits_per_dim
from vae_zoo.metrics.distances import FID, KID, FeatureFigure, Inception, fid, kid
from vae_zoo.metrics.evidence import AISGap, EvidenceFigure, NLLByAIS, NLLByPosterior
from vae_zoo.metrics.fidelity import Coverage, Density, Precision, Recall
from vae_zoo.metrics.labels import LabelAccuracy, LabelNetwork, ModesLost, label_network, modes_lost
from vae_zoo.metrics.reconstruction import MSE, PSNR, SSIM, ExplainedVariance, MSEOfMeanImage, MSESampled, ssim
from vae_zoo.metrics.samples import SampleFigure
from vae_zoo.metrics.sharpness import NearestInTraining, Sharpness, laplacian_variance, nearest_in_training

# In the order of results.json. One that needs what another finds stands after it.
DEFAULTS: tuple[type[Measure], ...] = (
    *(MSE, MSESampled, MSEOfMeanImage, ExplainedVariance, PSNR, SSIM, CodeMMD),
    *(ELBO, KL, KLShare, ActiveUnits, NLL, BitsPerDim),
)

__all__ = [
    "DEFAULTS",
    "ELBO",
    "FID",
    "KID",
    "KL",
    "MSE",
    "NLL",
    "PSNR",
    "SSIM",
    "AISGap",
    "ActiveUnits",
    "BitsPerDim",
    "CodeMMD",
    "Coverage",
    "Density",
    "EvidenceFigure",
    "ExplainedVariance",
    "FeatureFigure",
    "ImageFigure",
    "Inception",
    "KLShare",
    "LabelAccuracy",
    "LabelNetwork",
    "MSEOfMeanImage",
    "MSESampled",
    "Measure",
    "ModelFigure",
    "ModesLost",
    "NLLByAIS",
    "NLLByPosterior",
    "NearestInTraining",
    "Precision",
    "Recall",
    "SampleFigure",
    "Sharpness",
    "active_units",
    "bits_per_dim",
    "code_mmd",
    "fid",
    "kid",
    "label_network",
    "laplacian_variance",
    "modes_lost",
    "nearest_in_training",
    "ssim",
]
