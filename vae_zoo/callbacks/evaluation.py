"""Measure a model at each validation and at the test, and write results.json."""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torchmetrics import CatMetric, SumMetric

from vae_zoo import checkpoints
from vae_zoo.callbacks import charts
from vae_zoo.callbacks.environment import environment, git_revision, global_seed
from vae_zoo.callbacks.of_trainer import data_of, model_of, run_of
from vae_zoo.callbacks.timing import Timing, checked_epochs, summarise
from vae_zoo.callbacks.trackers import log_hyperparameters
from vae_zoo.conditional import parts
from vae_zoo.errors import UserError, require
from vae_zoo.metrics import DEFAULTS, FID, KID, NLL, FeatureFigure, Measure, ModelFigure
from vae_zoo.models import GenerativeModel
from vae_zoo.models.base import Evaluated
from vae_zoo.results import Results


class Evaluation(Callback):
    """Measure the figures in the list, and write ``results.json`` to the run's folder after a test.

    The model's own figures that are not in the list, such as what its objective returns beside the bound, are added to
    it. A figure that a model does not have is null, with the reason beside it. At each validation and test the loggers
    get a chart of the KL per latent dimension; at the test TensorBoard gets an embedding of the codes, and the figures
    beside the hyper-parameters.

    Args:
        nll_samples: importance samples for each `NLL` in the list that does not say its own; 0 leaves it out.
        fid: short for a `FID` in the list.
        kid: short for a `KID` in the list.
        features: of those two, and of listed figures without their own.
        metrics: what is measured; None is all that needs no more than the test images.

    Raises:
        UserError: if `nll_samples` is negative, or two measures have one name; when a test begins, if a network is
            needed and cannot be had.
    """

    # With `nn.Module | None`, or types in place of the dots, --help would list all modules of torch, 700 lines.
    def __init__(
        self,
        nll_samples: int = 100,
        fid: bool = False,
        kid: bool = False,
        features: Callable[..., Any] | None = None,
        metrics: list[Measure] | None = None,
    ) -> None:
        require(0, nll_samples=nll_samples)
        defaults = [measure() for measure in DEFAULTS]
        self.measures: list[Measure] = defaults if metrics is None else list(metrics)
        self.measures += [measure() for measure, asked in ((FID, fid), (KID, kid)) if asked]
        for measure in self.measures:
            if isinstance(measure, NLL) and measure.samples is None:
                measure.samples = nll_samples
            if isinstance(measure, FeatureFigure) and measure.features is None:
                measure.features = features
        names = [measure.name for measure in self.measures]
        if twice := {name for name in names if names.count(name) > 1}:
            raise UserError(f"evaluation.metrics: names must be unique; {', '.join(twice)} appears twice")
        # Figures that are in results.json if, and only if, the list says so.
        self._covered = {measure.name for measure in defaults} | set(names) | {"loss", "reconstruction"}
        self._active: list[Measure] = []
        self._further: dict[str, ModelFigure] = {}
        self._kl = CatMetric(nan_strategy="disable")
        self._shape: tuple[int, ...] = ()
        self._seed: int | None = None
        self._labels: list[str] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember seed and label names, which checkpoints carry, and write the split's image ids to split.json."""
        self._seed = global_seed()
        data = data_of(trainer)
        self._labels = list(data.facts.label_names) if data else None
        if (run := run_of(trainer)) and data:
            run.write_split(data.split_listed, data.split_sha256, data.scale)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove what was made of an earlier checkpoint, if training goes on."""
        log_hyperparameters(trainer, pl_module, [measure.name for measure in self.measures], ended=False)
        if run := run_of(trainer):
            run.forget_results(trainer.current_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the seed of the training, and the names of its labels."""
        return {"seed": self._seed, "labels": self._labels}

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset what is measured at a validation."""
        self._begin(trainer, pl_module, [measure for measure in self.measures if measure.in_validation])

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset all measures, and let each process draw codes and samples of its own."""
        self._begin(trainer, pl_module, self.measures)
        if trainer.global_rank:  # Lightning gives all processes one seed
            torch.manual_seed(torch.initial_seed() + trainer.global_rank)

    def _begin(self, trainer: Trainer, pl_module: LightningModule, measures: list[Measure]) -> None:
        self._active, self._further, self._projector = measures, {}, charts.Projector(trainer)
        self._items = SumMetric().to(pl_module.device)
        for metric in (*measures, self._kl):
            metric.reset()
            metric.to(pl_module.device)
        for measure in measures:
            measure.begin(model_of(pl_module), data_of(trainer))

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Measure a batch."""
        self._update(model_of(pl_module), batch, outputs)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Measure a batch, and the figures that no measure covers."""
        x, y = batch
        self._shape = tuple(x.shape[1:])
        self._items.update(len(x))
        for name in outputs["figures"]:  # in their order, which is that of all processes, and a set's is not
            if name not in self._covered | self._further.keys():
                self._further[name] = ModelFigure(name).to(pl_module.device)
                self._further[name].missing += batch_idx  # batches before this one did not have it
        for measure in self._further.values():
            measure.update(model_of(pl_module), x, y, outputs)
        self._update(model_of(pl_module), batch, outputs)
        if (trace := outputs["trace"]) and self._projector.wants_more:
            self._projector.add(trace.centre, model_of(pl_module).pictures(x), y)

    def _update(self, model: GenerativeModel, batch: tuple[Tensor, Tensor], evaluated: Evaluated) -> None:
        for measure in self._active:
            measure.update(model, *batch, evaluated)
        trace = evaluated["trace"]
        if trace and "kl" in evaluated["figures"] and trace.kl_per_dimension is not None:
            self._kl.update(trace.kl_per_dimension)

    def _log_kl(self, trainer: Trainer) -> None:
        if self._kl.update_called:
            kl = self._kl.compute()  # of all processes
            charts.log_kl(trainer, kl if isinstance(kl, Tensor) else torch.cat(kl))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the figures and the KL per dimension."""
        if not trainer.sanity_checking:
            for measure in self._active:
                if not isinstance(found := measure.compute(), str):
                    pl_module.log(f"val/{measure.name}", float(found), sync_dist=True)
            self._log_kl(trainer)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the figures and write results.json."""
        found = {measure.name: measure.compute() for measure in (*self.measures, *self._further.values())}
        numbers = {name: value for name, value in found.items() if not isinstance(value, str)}
        logged = {f"test/{name}": float(value) for name, value in numbers.items()}
        new = {name: value for name, value in logged.items() if name not in trainer.callback_metrics}
        pl_module.log_dict(new, sync_dist=True)
        self._log_kl(trainer)
        items, data = int(self._items.compute()), data_of(trainer)
        run = run_of(trainer)
        if run is None:
            return
        if data and items < len(data.parts["test"]):
            rank_zero_warn(
                f"{items} of {len(data.parts['test'])} test images were measured, so results.json was not written"
            )
            return
        log_hyperparameters(trainer, pl_module, found, ended=True)
        self._projector.log(trainer)
        reasons = {name: value for name, value in found.items() if isinstance(value, str)}
        figures = {name: numbers.get(name) for name in found}
        run.write_results(self._results(trainer, model_of(pl_module), figures, reasons))

    def _results(
        self, trainer: Trainer, model: GenerativeModel, figures: dict[str, float | None], reasons: dict[str, str]
    ) -> Results:
        """The content of results.json."""
        data = data_of(trainer)
        state = _saved_state(trainer)
        seed = state.get("Evaluation", {}).get("seed", self._seed)
        seed = seed if isinstance(seed, int) else None
        epochs = checked_epochs(state.get("Timing", {}).get("epochs", []))
        machines = state.get("Timing", {}).get("machines", [])
        samples = [m.samples for m in self.measures if isinstance(m, NLL) and m.estimated and m.name not in reasons]
        return Results(
            model=type(model).__name__,
            traits=model.traits,
            figures=figures,
            reasons=reasons,
            nll_samples=samples[0] if samples else None,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            parts=parts(model),
            shape=list(model.hparams.get("shape", self._shape)),
            epochs=len(epochs),
            seed=seed if seed is not None else global_seed(),
            split_sha256=data.split_sha256 if data else None,
            timing={**summarise(epochs), "epoch_seconds": [epoch["seconds"] for epoch in epochs]},
            environment=environment(trainer) | {"trained_on": " and ".join(map(str, machines))},
            git_revision=git_revision(),
        )


def _saved_state(trainer: Trainer) -> dict[str, Any]:
    """The callbacks' states of the tested checkpoint, or of this trainer where it tests what it has just trained."""
    if trainer.ckpt_path:
        return checkpoints.read(trainer.ckpt_path).get("callbacks", {})
    return {type(c).__name__: c.state_dict() for c in trainer.callbacks if isinstance(c, (Evaluation, Timing))}  # type: ignore[attr-defined]
