"""The figures of a run: latent units at each validation, everything at the test, and results.json."""

import json
import math
import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torchmetrics import CatMetric, Metric
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

from vae_zoo.callbacks.images import output_folder
from vae_zoo.callbacks.timing import Timing, summarise
from vae_zoo.distributions import Likelihood
from vae_zoo.errors import require
from vae_zoo.metrics.codes import active_units, code_mmd
from vae_zoo.metrics.images import Inception, fid, kid
from vae_zoo.models import Autoencoder, GenerativeModel, LatentVariableModel
from vae_zoo.models.base import Measured

PROJECTED = 1_000  # test images whose codes and thumbnails go to TensorBoard's projector
WINDOW = 11  # pixels, the side of SSIM's window


class Evaluation(Callback):
    """Measure codes and densities, and write ``results.json`` to the run's folder after a test.

    At each validation: val/active_units, and a chart of the KL per latent dimension. At the test: the
    importance-weighted NLL, bits per dimension, code MMD, an embedding of the test codes and the hyper-parameters with
    the final figures; of the reconstructions, means over images of the PSNR, -10 log10(mse) dB, and of the SSIM (Wang
    et al. 2004, a Gaussian window of 11 pixels), which smaller images do not have. What a model does not have is null.

    Args:
        nll_samples: importance samples for the negative log-likelihood; 0 leaves it out.
        fid: whether to measure the Frechet distance between the test images and as many samples.
        kid: whether to measure the kernel distance between the two.
        features: any module for the two distances, (B, 3, H, W) in [0, 1] -> (B, F); grey images come as three equal
            channels. None is the usual Inception: a download, and the only choice that papers' figures compare with.

    Raises:
        UserError: if `nll_samples` is negative; when a test begins, if Inception is needed and cannot be had.
    """

    # With `nn.Module | None`, or types in place of the dots, --help would list all modules of torch, 700 lines.
    def __init__(
        self, nll_samples: int = 100, fid: bool = False, kid: bool = False, features: Callable[..., Any] | None = None
    ) -> None:
        require(0, nll_samples=nll_samples)
        self.nll_samples, self.fid, self.kid, self.features = nll_samples, fid, kid, features
        self._codes, self._draws, self._prior, self._kl, self._nll, self._real, self._fake = (
            CatMetric(nan_strategy="disable") for _ in range(7)
        )
        self._psnr = PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3))  # with `dim` it keeps each image's own
        self._ssim = StructuralSimilarityIndexMeasure(data_range=1.0)
        self._labels: list[Tensor] = []
        self._thumbnails: list[Tensor] = []
        self._shape: tuple[int, ...] = ()
        self._grey = False
        self._seed: int | None = None
        self._names: list[str] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load Inception, if a test needs it."""
        if stage == "test" and (self.fid or self.kid) and self.features is None:
            self.features = Inception("evaluation.fid" if self.fid else "evaluation.kid")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember seed and label names, which checkpoints carry, and write the split's image ids to split.json."""
        self._seed = _global_seed()
        self._names = getattr(getattr(trainer, "datamodule", None), "labels", None)
        split = getattr(getattr(trainer, "datamodule", None), "split", None)
        folder = output_folder(trainer)
        if folder:
            (folder / "results.json").unlink(missing_ok=True)  # of an earlier checkpoint, if training goes on
        if split and folder:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "split.json").write_text(json.dumps(split))

    def state_dict(self) -> dict[str, Any]:
        """Return the seed of the training, and the names of its labels."""
        return {"seed": self._seed, "labels": self._names}

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last validation."""
        self._reset(pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last validation, and let each process draw codes and samples of its own."""
        self._reset(pl_module)
        if isinstance(self.features, nn.Module):
            self.features.eval().to(pl_module.device)
        if trainer.global_rank:  # Lightning gives all processes one seed
            torch.manual_seed(torch.initial_seed() + trainer.global_rank)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect codes and KL."""
        self._collect(outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the active units and the KL per dimension."""
        if self._codes.update_called and not trainer.sanity_checking:
            pl_module.log("val/active_units", float(active_units(_all(self._codes))))
            self._log_kl(trainer)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Collect codes and KL, estimate log p(x), and look at reconstructions and samples."""
        self._collect(outputs)
        x, y = batch
        self._shape = tuple(x.shape[1:])
        precision = trainer.precision_plugin.test_step_context  # the step's own
        x_hat = outputs["x_hat"]
        if isinstance(pl_module, Autoencoder):
            self._prior.update(pl_module.sample_prior(len(x), y))
        if x_hat is not None:
            self._psnr.update(x_hat, x)
            if min(self._shape[1:]) >= WINDOW:
                self._ssim.update(x_hat, x)
        if isinstance(pl_module, GenerativeModel) and self.features is not None and (self.fid or self.kid):
            with precision():
                samples = pl_module.sample(len(x), y)
            for metric, images in ((self._real, pl_module.pictures(x)), (self._fake, pl_module.pictures(samples))):
                metric.update(self.features(images.float().expand(-1, 3, -1, -1)).flatten(1))  # B F
        if isinstance(pl_module, LatentVariableModel) and self.nll_samples:
            with precision():
                nll = -pl_module.log_prob(x, y, samples=self.nll_samples).float()
            self._nll.update(nll.to(pl_module.device))  # where processes can gather it
        if getattr(_likelihood(pl_module), "binary", False):
            self._grey |= not bool(((x == 0) | (x == 1)).all())
        if isinstance(pl_module, Autoencoder) and sum(map(len, self._labels)) < PROJECTED:
            picture = pl_module.pictures(x)
            height, width = picture.shape[-2:]
            side = max(height, width)
            square = pad(picture, (0, side - width, 0, side - height), value=1.0)  # as the projector asks for
            self._labels.append(y.cpu())
            self._thumbnails.append(interpolate(square, size=min(side, 32), mode="area").cpu())

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the figures and write results.json."""
        codes = _all(self._codes) if self._codes.update_called else None  # gathered from all processes
        results = self._results(trainer, pl_module, codes)
        numbers = {name: float(results[name]) for name in FIGURES if results[name] is not None}
        new = {f"test/{name}": v for name, v in numbers.items() if f"test/{name}" not in trainer.callback_metrics}
        pl_module.log_dict(new)
        self._log_kl(trainer)
        folder = output_folder(trainer)
        if folder is None:
            return
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                metrics = {f"hp/{name}": value for name, value in numbers.items()}
                logger.log_hyperparams(dict(pl_module.hparams), metrics)
        self._log_embedding(trainer, codes)
        path = folder / "results.json"
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(results, indent=2) + "\n")
        temporary.replace(path)

    def _results(self, trainer: Trainer, pl_module: LightningModule, codes: Tensor | None) -> dict[str, Any]:
        """The content of results.json."""
        means = {name.removeprefix("test/"): value.item() for name, value in trainer.callback_metrics.items()}
        estimated = self._nll.update_called
        nll = _all(self._nll).double().mean().item() if estimated else means.get("nll")  # some models have it exactly
        discrete = getattr(_likelihood(pl_module), "discrete", False)
        datamodule = getattr(trainer, "datamodule", None)
        state = _saved_state(trainer)
        seed = state.get("Evaluation", {}).get("seed", self._seed)
        epochs = state.get("Timing", {}).get("epochs", [])
        mmd = code_mmd(_all(self._draws), _all(self._prior)) if codes is not None and len(codes) > 1 else None
        real, fake = (_all(m) if m.update_called else torch.empty(0) for m in (self._real, self._fake))  # N F each
        if self._grey:  # then the Bernoulli's cross entropy is no density
            means.pop("elbo", None)
            nll = None
        return {
            "model": type(pl_module).__name__,
            "mse": means.get("mse"),
            "mse_sampled": means.get("mse_sampled"),
            "psnr": _all(self._psnr).item() if self._psnr.update_called else None,
            "ssim": _all(self._ssim).item() if self._ssim.update_called else None,
            "code_mmd": mmd,
            "fid": fid(real, fake) if self.fid and len(real) > 1 else None,
            "kid": kid(real, fake) if self.kid and len(real) > 1 else None,
            "elbo": means.get("elbo"),
            "kl": means.get("kl"),
            "active_units": None if codes is None else active_units(codes),
            "nll": nll,
            "nll_samples": self.nll_samples if estimated and nll is not None else None,
            "bits_per_dim": bits_per_dim(nll, self._shape) if nll is not None and discrete else None,
            "parameters": sum(p.numel() for p in pl_module.parameters()),
            "shape": list(pl_module.hparams.get("shape", self._shape)),
            "epochs": len(epochs),
            "seed": seed if seed is not None else _global_seed(),
            "split_sha256": getattr(datamodule, "split_sha256", None),
            "timing": {
                **(summarise(epochs) if epochs else dict.fromkeys(TIMINGS)),
                "epoch_seconds": [epoch["seconds"] for epoch in epochs],
            },
            "environment": _environment(trainer),
            "git_revision": _git_revision(),
        }

    def _reset(self, pl_module: LightningModule) -> None:
        for metric in (m for m in vars(self).values() if isinstance(m, Metric)):
            metric.reset()
            metric.to(pl_module.device)
        self._labels, self._thumbnails, self._grey = [], [], False

    def _collect(self, outputs: Measured) -> None:
        found = (self._codes, outputs["codes"]), (self._draws, outputs["draws"]), (self._kl, outputs["kl"])
        for metric, values in found:
            if values is not None:
                metric.update(values)

    def _log_kl(self, trainer: Trainer) -> None:
        if not self._kl.update_called:
            return
        kl = _all(self._kl).mean(0).sort(descending=True).values  # D
        if not kl.isfinite().all():
            return  # a training that has diverged has no chart
        figure = Figure(figsize=(6, 3), layout="constrained")
        axes = figure.subplots()
        axes.bar(range(len(kl)), kl.tolist(), width=1.0)
        axes.set(
            xlabel="latent dimension, by KL",
            ylabel="summand of the KL (nats per image)",
            title=f"sum {kl.sum():.2f} nats",
        )
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure("latent/kl_per_dimension", figure, trainer.global_step)
                logger.experiment.add_histogram("latent/kl_histogram", kl, trainer.global_step)

    def _log_embedding(self, trainer: Trainer, codes: Tensor | None) -> None:
        if not self._labels or codes is None:
            return
        labels, thumbnails = torch.cat(self._labels)[:PROJECTED], torch.cat(self._thumbnails)[:PROJECTED]
        names = getattr(getattr(trainer, "datamodule", None), "labels", None)
        metadata = [names[i] if names else str(i) for i in labels.tolist()]
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_embedding(
                    codes[: len(labels)], metadata, thumbnails, trainer.global_step, "test_codes"
                )


FIGURES = (
    *("mse", "mse_sampled", "psnr", "ssim", "code_mmd", "fid", "kid"),
    *("elbo", "kl", "active_units", "nll", "bits_per_dim"),
)
TIMINGS = ("seconds_per_epoch", "images_per_second", "data_wait_share", "peak_memory_mb", "train_seconds")


def bits_per_dim(nll: float, shape: tuple[int, ...]) -> float:
    """Convert a negative log-probability in nats per image to bits per pixel and channel: nll / (C H W log 2).

    Args:
        nll: of a probability of 8-bit images, in nats per image.
        shape: (C, H, W).
    """
    return nll / (math.prod(shape) * math.log(2))


def _likelihood(model: nn.Module) -> Likelihood | None:
    """The model's p(x|z), which may be inside one that is given labels."""
    return next((module for module in model.modules() if isinstance(module, Likelihood)), None)


def _all(metric: Metric) -> Tensor:
    """Of all processes' images, on the CPU."""
    value = metric.compute()
    return (value if isinstance(value, Tensor) else torch.cat(value)).cpu()


def _saved_state(trainer: Trainer) -> dict[str, Any]:
    """The callbacks' states of the tested checkpoint, or of this trainer where it tests what it has just trained."""
    if trainer.ckpt_path:
        return torch.load(trainer.ckpt_path, map_location="cpu", weights_only=True)["callbacks"]
    return {type(c).__name__: c.state_dict() for c in trainer.callbacks if isinstance(c, (Evaluation, Timing))}  # type: ignore[attr-defined]


def _global_seed() -> int | None:
    seed = os.environ.get("PL_GLOBAL_SEED")
    return int(seed) if seed else None


def _environment(trainer: Trainer) -> dict[str, Any]:
    device = trainer.strategy.root_device
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in ("vae_zoo", "torch", "torchvision", "lightning")},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "precision": str(trainer.precision),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _git_revision() -> str | None:
    """The revision of the source that runs; None where git does not track it, as in site-packages."""
    here = Path(__file__)
    track, describe = ["ls-files", "--error-unmatch", here.name], ["describe", "--always", "--dirty", "--exclude=*"]
    try:
        for command in (track, [*describe, "--abbrev=40"]):
            git = ["git", "-C", str(here.parent), *command]
            said = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
        return said
    except (OSError, subprocess.CalledProcessError):
        return None
