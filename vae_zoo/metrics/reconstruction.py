"""Figures of reconstructions: how far x_hat is from x."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from vae_zoo.metrics.base import ImageFigure
from vae_zoo.models import GenerativeModel
from vae_zoo.models.base import Evaluated

WINDOW = 11  # pixels, the side of SSIM's window
BATCH = 256  # training images at a time, for their mean


class MSE(ImageFigure):
    """Mean over pixels, channels and images of (x - x_hat)^2 on [0, 1], x_hat decoded from the posterior's centre."""

    name, needs = "mse", ("encodes", "pixels")

    def values(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> Tensor | str:
        """Return the model's own."""
        return self.given(evaluated)


class MSESampled(ImageFigure):
    """The same with x_hat decoded from draws of the posterior."""

    name, needs = "mse_sampled", ("encodes", "pixels")

    def values(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> Tensor | str:
        """Return the model's own."""
        return self.given(evaluated)


class MSEOfMeanImage(ImageFigure):
    """The yardstick of the MSE: that of the mean training image, which is what a model can do that knows nothing."""

    name, needs = "mse_of_mean_image", ("encodes", "pixels")
    _mean: Tensor | None = None

    def begin(self, model: GenerativeModel, data: Any) -> None:
        """Average the training images."""
        self._mean = None
        if data is not None and model.encodes and model.pixels:
            sums, n = zip(*((x.double().sum(0), len(x)) for x, _ in data.batches("train", BATCH)), strict=True)
            self._mean = torch.stack(sums).sum(0) / sum(n)  # C H W

    def values(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> Tensor | str:
        """Return each image's distance from the mean image."""
        if self._mean is None:
            return "there is no data module to take training images from"
        return (x - self._mean.to(x)).square().mean((1, 2, 3))  # B


class ExplainedVariance(ImageFigure):
    """1 - mse / mse_of_mean_image: the share of the images' variance that reconstructions explain; 1 is all of it.

    In the list it stands after `MSEOfMeanImage`.
    """

    name, needs = "explained_variance", ("encodes", "pixels")
    of_mean_image: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("of_mean_image", torch.zeros(()), dist_reduce_fx="sum")

    def values(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> Tensor | str:
        """Return each image's distance from its reconstruction, and sum that from the mean image."""
        of_mean_image = evaluated["figures"].get("mse_of_mean_image")
        if of_mean_image is None:
            return "evaluation.metrics has no MSEOfMeanImage before it, or that has no number"
        self.of_mean_image += of_mean_image.mean() * len(x)
        return evaluated["figures"]["mse"]

    def compute(self) -> float | str:
        """Return the share."""
        error = super().compute()
        if isinstance(error, str):
            return error
        yardstick = (self.of_mean_image / self.images).item()
        return 1 - error / yardstick if yardstick else "the images do not vary: each is the mean training image"


class PSNR(ImageFigure):
    """Mean over images of the peak signal-to-noise ratio -10 log10(mse), in dB."""

    name, needs = "psnr", ("encodes", "pixels")

    def values(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> Tensor | str:
        """Return each image's ratio."""
        assert evaluated["trace"]
        x_hat = evaluated["trace"].x_hat
        found = peak_signal_noise_ratio(x_hat, x, 1.0, reduction="none", dim=(1, 2, 3))  # B
        return "it is infinite, some reconstructions being exact" if found.isposinf().any() else found


class SSIM(ImageFigure):
    """Mean over images of the structural similarity (Wang et al. 2004): a Gaussian window of 11 pixels, sigma 1.5.

    It is the mean over the windows that lie inside the image. Smaller images have none.
    """

    name, needs = "ssim", ("encodes", "pixels")

    def values(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> Tensor | str:
        """Return each image's similarity."""
        assert evaluated["trace"]
        if min(x.shape[-2:]) < WINDOW:
            return f"images smaller than SSIM's window of {WINDOW} pixels"
        return ssim(evaluated["trace"].x_hat, x)


def ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """Return the structural similarity of images (B, C, H, W) in [0, 1], of 11 pixels a side or more, (B,)."""
    # torchmetrics mirrors the image at its border, and has a window around each pixel; these are the ones inside.
    _, windows = structural_similarity_index_measure(x_hat, x, data_range=1.0, return_full_image=True)  # B C H W
    edge = WINDOW // 2
    return windows[..., edge:-edge, edge:-edge].mean((1, 2, 3))
