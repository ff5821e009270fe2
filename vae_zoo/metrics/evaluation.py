"""The figures of a run: latent units at each validation, everything at the test, and results.json."""

import json
import math
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate
from torchmetrics import CatMetric

from vae_zoo.callbacks.images import output_folder
from vae_zoo.callbacks.timing import Timing, summarise
from vae_zoo.errors import require
from vae_zoo.metrics.codes import active_units, code_mmd
from vae_zoo.models import Autoencoder, LatentVariableModel
from vae_zoo.models.base import Measured

PROJECTED = 1_000  # test images whose codes and thumbnails go to TensorBoard's projector


class Evaluation(Callback):
    """Measure codes and densities, and write ``results.json`` to the run's folder after a test.

    At each validation: val/active_units, and a chart of the KL per latent dimension. At the test: the
    importance-weighted NLL, bits per dimension, code MMD, an embedding of the test codes and the hyper-parameters with
    the final figures. What a model does not have is null.

    Args:
        nll_samples: importance samples for the negative log-likelihood; 0 leaves it out.

    Raises:
        UserError: if `nll_samples` is negative.
    """

    def __init__(self, nll_samples: int = 100) -> None:
        require(0, nll_samples=nll_samples)
        self.nll_samples = nll_samples
        self._codes, self._draws, self._kl, self._nll = (CatMetric(nan_strategy="disable") for _ in range(4))
        self._labels: list[Tensor] = []
        self._thumbnails: list[Tensor] = []
        self._shape: tuple[int, ...] = ()
        self._grey = False
        self._seed: int | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the seed, which the checkpoint then carries, and write the split's image ids to split.json."""
        self._seed = _global_seed()
        split = getattr(getattr(trainer, "datamodule", None), "split", None)
        folder = output_folder(trainer)
        if split and folder:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "split.json").write_text(json.dumps(split))

    def state_dict(self) -> dict[str, Any]:
        """Return the seed of the training."""
        return {"seed": self._seed}

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last validation."""
        self._reset(pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last validation."""
        self._reset(pl_module)

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
        self._collect(pl_module, outputs)

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
        """Collect codes and KL, and estimate log p(x)."""
        self._collect(pl_module, outputs)
        x, y = batch
        self._shape = tuple(x.shape[1:])
        if isinstance(pl_module, LatentVariableModel) and self.nll_samples:
            self._nll.update(-pl_module.log_prob(x, y, samples=self.nll_samples).float())
        if isinstance(pl_module, Autoencoder) and pl_module.likelihood.binary:
            self._grey |= not bool(((x == 0) | (x == 1)).all())
        if isinstance(pl_module, Autoencoder) and sum(map(len, self._labels)) < PROJECTED:
            size = [min(side, 32) for side in x.shape[-2:]]
            self._labels.append(y.cpu())
            self._thumbnails.append(interpolate(x, size=size, mode="area").cpu())

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
        nll = _all(self._nll).double().mean().item() if self._nll.update_called else None
        discrete = getattr(getattr(pl_module, "likelihood", None), "discrete", False)
        datamodule = getattr(trainer, "datamodule", None)
        state = _saved_state(trainer)
        seed = state.get("Evaluation", {}).get("seed", self._seed)
        epochs = state.get("Timing", {}).get("epochs", [])
        mmd = None
        if isinstance(pl_module, Autoencoder) and codes is not None and len(codes) > 1:
            mmd = code_mmd(_all(self._draws), pl_module.sample_prior(len(codes)).cpu())
        if self._grey:  # then the Bernoulli's cross entropy is no density
            means.pop("elbo", None)
            nll = None
        return {
            "model": type(pl_module).__name__,
            "mse": means.get("mse"),
            "mse_sampled": means.get("mse_sampled"),
            "code_mmd": mmd,
            "elbo": means.get("elbo"),
            "kl": means.get("kl"),
            "active_units": None if codes is None else active_units(codes),
            "nll": nll,
            "nll_samples": None if nll is None else self.nll_samples,
            "bits_per_dim": bits_per_dim(nll, self._shape) if nll is not None and discrete else None,
            "parameters": sum(p.numel() for p in pl_module.parameters()),
            "seed": seed if seed is not None else _global_seed(),
            "split_sha256": getattr(datamodule, "split_sha256", None),
            "timing": summarise(epochs) if epochs else dict.fromkeys(TIMINGS),
            "environment": _environment(trainer),
            "git_revision": _git_revision(),
        }

    def _reset(self, pl_module: LightningModule) -> None:
        for metric in (self._codes, self._draws, self._kl, self._nll):
            metric.reset()
            metric.to(pl_module.device)
        self._labels, self._thumbnails, self._grey = [], [], False

    def _collect(self, pl_module: LightningModule, outputs: Measured) -> None:
        if isinstance(pl_module, Autoencoder):
            self._codes.update(outputs["codes"])
            self._draws.update(outputs["draws"])
            if outputs["kl"] is not None:
                self._kl.update(outputs["kl"])

    def _log_kl(self, trainer: Trainer) -> None:
        if not self._kl.update_called:
            return
        kl = _all(self._kl).mean(0).sort(descending=True).values  # D
        if not kl.isfinite().all():
            return  # a training that has diverged has no chart
        figure = Figure(figsize=(6, 3), layout="constrained")
        axes = figure.subplots()
        axes.bar(range(len(kl)), kl.tolist(), width=1.0)
        axes.set(xlabel="latent dimension, by KL", ylabel="KL (nats per image)", title=f"sum {kl.sum():.2f} nats")
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


FIGURES = ("mse", "mse_sampled", "code_mmd", "elbo", "kl", "active_units", "nll", "bits_per_dim")
TIMINGS = ("seconds_per_epoch", "images_per_second", "data_wait_share", "peak_memory_mb", "train_seconds")


def bits_per_dim(nll: float, shape: tuple[int, ...]) -> float:
    """Convert a negative log-probability in nats per image to bits per pixel and channel: nll / (C H W log 2).

    Args:
        nll: of a probability of 8-bit images, in nats per image.
        shape: (C, H, W).
    """
    return nll / (math.prod(shape) * math.log(2))


def _all(metric: CatMetric) -> Tensor:
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
