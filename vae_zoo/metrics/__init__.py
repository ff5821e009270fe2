"""What is measured, the same for every model: each figure is a class of its own, a torchmetrics Metric."""

from vae_zoo.metrics.base import ImageFigure, Measure, ModelFigure
from vae_zoo.metrics.codes import ActiveUnits, CodeMMD, active_units, code_mmd
from vae_zoo.metrics.density import ELBO, KL, NLL, BitsPerDim, bits_per_dim
from vae_zoo.metrics.distances import FID, KID, Inception, fid, kid
from vae_zoo.metrics.reconstruction import MSE, PSNR, SSIM, ExplainedVariance, MSEOfMeanImage, MSESampled, ssim

# In the order of results.json. One that needs what another finds stands after it.
DEFAULTS: tuple[type[Measure], ...] = (
    *(MSE, MSESampled, MSEOfMeanImage, ExplainedVariance, PSNR, SSIM, CodeMMD),
    *(ELBO, KL, ActiveUnits, NLL, BitsPerDim),
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
    "ActiveUnits",
    "BitsPerDim",
    "CodeMMD",
    "ExplainedVariance",
    "ImageFigure",
    "Inception",
    "MSEOfMeanImage",
    "MSESampled",
    "Measure",
    "ModelFigure",
    "active_units",
    "bits_per_dim",
    "code_mmd",
    "fid",
    "kid",
    "ssim",
]
