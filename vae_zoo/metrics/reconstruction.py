"""Figures of reconstructions: how far x_hat is from x."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from vae_zoo.metrics.base import MeanFigure, without_pixels
from vae_zoo.models import GenerativeModel
from vae_zoo.models.base import Evaluated

WINDOW = 11  # pixels, the side of SSIM's window
BATCH = 256  # training images at a time, for their mean


class _OfReconstructions(MeanFigure):
    """A figure that a model has if its codes decode to pixels."""

    def why_none(self, model: GenerativeModel) -> str:
        return without_pixels(model) or self.reason


class MSE(_OfReconstructions):
    """Mean over pixels, channels and images of (x - x_hat)^2 on [0, 1], x_hat decoded from the posterior's centre."""

    def __init__(self) -> None:
        super().__init__("mse")


class MSESampled(_OfReconstructions):
    """The same with x_hat decoded from draws of the posterior."""

    def __init__(self) -> None:
        super().__init__("mse_sampled")


class MSEOfMeanImage(_OfReconstructions):
    """The yardstick of the MSE: that of the mean training image, which is what a model can do that knows nothing."""

    def __init__(self) -> None:
        super().__init__("mse_of_mean_image")
        self._mean: Tensor | None = None

    def begin(self, model: GenerativeModel, data: Any) -> None:
        """Average the training images."""
        if without_pixels(model):
            return
        if data is None:
            self._mean, self.reason = None, "there is no data module to take training images from"
            return
        total, n = 0.0, 0
        for x, _ in data.batches("train", BATCH):
            total, n = total + x.double().sum(0), n + len(x)
        self._mean = total / n  # type: ignore[assignment]  # there is a training image

    def update(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> None:
        """Measure a batch against the mean image."""
        if self._mean is not None:
            squares = (x - self._mean.to(x)).square().mean((1, 2, 3))  # B
            evaluated["figures"][self.name] = squares
        super().update(model, x, y, evaluated)


class ExplainedVariance(_OfReconstructions):
    """1 - mse / mse_of_mean_image: the share of the images' variance that reconstructions explain; 1 is all of it.

    In the list it stands after `MSEOfMeanImage`.
    """

    error: Tensor

    def __init__(self) -> None:
        super().__init__("explained_variance")
        self.add_state("error", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> None:
        """Add a batch's two errors."""
        mse, of_mean = (evaluated["figures"].get(name) for name in ("mse", "mse_of_mean_image"))
        if mse is None or of_mean is None:
            no_yardstick = "evaluation.metrics has no MSEOfMeanImage before it, or that has no number"
            self.reason = without_pixels(model) or no_yardstick
            return
        self.error += mse.sum()
        self.total += of_mean.sum()
        self.images += len(x)

    def compute(self) -> float | str:
        """Return the share."""
        if self.images and not self.total:
            return "the images do not vary: each is the mean training image"
        return 1 - (self.error / self.total).item() if self.images else self.reason


class PSNR(_OfReconstructions):
    """Mean over images of the peak signal-to-noise ratio -10 log10(mse), in dB."""

    def __init__(self) -> None:
        super().__init__("psnr")

    def update(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> None:
        """Measure a batch."""
        if without_pixels(model) is None and (trace := evaluated["trace"]):
            values = peak_signal_noise_ratio(trace.x_hat, x, 1.0, reduction="none", dim=(1, 2, 3))  # B
            evaluated["figures"][self.name] = values
        super().update(model, x, y, evaluated)


class SSIM(_OfReconstructions):
    """Mean over images of the structural similarity (Wang et al. 2004): a Gaussian window of 11 pixels, sigma 1.5.

    It is the mean over the windows that lie inside the image. Smaller images have none.
    """

    def __init__(self) -> None:
        super().__init__("ssim")

    def update(self, model: GenerativeModel, x: Tensor, y: Tensor, evaluated: Evaluated) -> None:
        """Measure a batch."""
        if without_pixels(model) is None and (trace := evaluated["trace"]):
            if min(x.shape[-2:]) < WINDOW:
                self.reason = f"images smaller than SSIM's window of {WINDOW} pixels"
            else:
                evaluated["figures"][self.name] = ssim(trace.x_hat, x)
        super().update(model, x, y, evaluated)


def ssim(x_hat: Tensor, x: Tensor) -> Tensor:
    """Return the structural similarity of images (B, C, H, W) in [0, 1], of 11 pixels a side or more, (B,)."""
    # torchmetrics mirrors the image at its border, and has a window around each pixel; these are the ones inside.
    _, windows = structural_similarity_index_measure(x_hat, x, data_range=1.0, return_full_image=True)  # B C H W
    edge = WINDOW // 2
    return windows[..., edge:-edge, edge:-edge].mean((1, 2, 3))
