"""Sketch-RNN without its encoder (Ha & Eck 2017, section 3.3)."""

from torch import Tensor

from vae_zoo.errors import UserError, require, require_positive, require_share
from vae_zoo.models.base import Evaluated, JointModel, WithoutCodes, inference
from vae_zoo.models.sketch import SketchModel
from vae_zoo.networks import Shape
from vae_zoo.optimizers import Interval, OptimizerFactory, SchedulerFactory
from vae_zoo.strokes import ROW, StrokeDecoder, longest


class SketchDecoder(SketchModel, JointModel, WithoutCodes):
    """The decoder of Sketch-RNN alone (Ha & Eck 2017, section 3.3): p(x) = prod_i p(x_i | x_1 ... x_{i-1}).

    loss = -log p(x) / N_max. It has a density, which needs no bound, and no codes.

    Args:
        shape: (N_max, 5): points in the longest sketch, and the numbers of each.
        decoder_width: of the LSTM's state.
        mixtures: M, normals in the mixture of a point's offset.
        recurrent_dropout: probability with which the LSTM drops a new value in training.
        lr: learning rate, unless the optimizer is given one of its own.
        optimizer: called with the parameters, gives the optimizer; None is Adam.
        lr_scheduler: called with the optimizer, gives its schedule; None is a constant learning rate.
        lr_interval: what the schedule counts, "epoch" or "step".

    Raises:
        UserError: if a number is out of range.
    """

    def __init__(
        self,
        shape: Shape = (250, ROW),
        decoder_width: int = 512,
        mixtures: int = 20,
        recurrent_dropout: float = 0.0,
        lr: float = 1e-3,
        optimizer: OptimizerFactory | None = None,
        lr_scheduler: SchedulerFactory | None = None,
        lr_interval: Interval = "epoch",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.longest = longest(shape)
        require(1, decoder_width=decoder_width, mixtures=mixtures)
        require_share(recurrent_dropout=recurrent_dropout)
        require_positive(lr=lr)
        self.likelihood = StrokeDecoder(0, decoder_width, mixtures, recurrent_dropout, self.longest)
        self.lr, self.optimizer, self.lr_scheduler, self.lr_interval = lr, optimizer, lr_scheduler, lr_interval

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return minus the log-density over N_max, averaged over the batch."""
        nll = -self._log_prob(batch[0])
        loss = nll.mean() / self.longest
        self.log_training(loss=loss, nll=nll)
        return loss

    def evaluate(self, x: Tensor, y: Tensor | None = None) -> Evaluated:
        """Measure sketches (B, T, 5)."""
        x, y = self.checked(x, y)
        nll = -self._log_prob(x)
        return Evaluated(figures={"loss": nll / self.longest, "nll": nll}, trace=None)

    def features(self, x: Tensor) -> Tensor:
        """Refuse: there are no features.

        Raises:
            UserError: always.
        """
        raise UserError("SketchDecoder has no encoder or discriminator, so it has no features")

    @inference
    def log_prob(self, x: Tensor, y: Tensor | None = None, *, samples: int = 1) -> Tensor:
        """Return log p(x) in nats, (B,), of sketches (B, T, 5); it is exact, and needs no samples."""
        x, y = self.checked(x, y)
        require(1, samples=samples)
        return self._log_prob(x)

    @inference
    def sample(self, n: int, y: Tensor | None = None, *, temperature: float | None = None) -> Tensor:
        """Draw `n` sketches (n, T, 5) at a temperature (eq. 8); 1, the default, is the model's own."""
        require(1, n=n)
        return self.likelihood.sample(self._no_code(n), 1.0 if temperature is None else temperature)

    def codes_of(self, x: Tensor) -> Tensor:
        """Return codes of no numbers, (B, 0)."""
        return self._no_code(len(x))

    def _log_prob(self, x: Tensor) -> Tensor:
        return self.likelihood(self.codes_of(x)).log_prob(x)

    def _no_code(self, n: int) -> Tensor:
        return next(self.parameters()).new_empty(n, 0)
