"""Sketch-RNN (Ha & Eck 2017)."""

from torch import Tensor

from vae_zoo import processes
from vae_zoo.distributions import GaussianPosterior, PriorFactory, StandardNormal
from vae_zoo.errors import require, require_not_negative, require_positive, require_share
from vae_zoo.models.base import inference
from vae_zoo.models.latent import LatentVariableModel
from vae_zoo.models.sketch import SketchModel
from vae_zoo.networks import Shape
from vae_zoo.optimizers import Interval, OptimizerFactory, SchedulerFactory
from vae_zoo.strokes import ROW, StrokeDecoder, StrokeEncoder, longest
from vae_zoo.trace import Trace


class SketchRNN(SketchModel, LatentVariableModel):
    """Sketch-RNN (Ha & Eck 2017): a VAE of pen strokes, its encoder and its decoder LSTMs.

    loss = L_R + w eta_t max(L_KL, KL_min),  L_R = -E_q[log p(x|z)] / N_max,  L_KL = KL(q(z|x) || p(z)) / N_z
    with eta_t = 1 - (1 - eta_min) R^t after t steps (eq. 9-12). L_KL is the mean over the batch, and a validation's
    weight is whole. What is logged as elbo is the bound log p(x|z) - KL in nats, of offsets divided by their standard
    deviation in the training set.

    Args:
        shape: (N_max, 5): points in the longest sketch, and the numbers of each.
        latent: N_z, the number of latent dimensions.
        encoder_width: of the state of each of the encoder's two LSTMs.
        decoder_width: of the state of the decoder's LSTM.
        mixtures: M, normals in the mixture of a point's offset.
        recurrent_dropout: probability with which an LSTM drops a new value in training (Semeniuta et al. 2016); with it
            the LSTMs loop over time, and training takes longer.
        prior: called with latent, shape and posterior, gives p(z).
        samples: K, draws of z per sketch in training and validation.
        kl_weight: w.
        kl_min: KL_min, nats per latent dimension that cost nothing.
        eta_min: the KL's share of its weight at the first step.
        annealing: R, by which the rest shrinks at each step; 0 is the whole weight from the second step on.
        lr: learning rate, unless the optimizer is given one of its own.
        optimizer: called with the parameters, gives the optimizer; None is Adam.
        lr_scheduler: called with the optimizer, gives its schedule; None is a constant learning rate.
        lr_interval: what the schedule counts, "epoch" or "step".

    Raises:
        UserError: if a number is out of range.
    """

    likelihood: StrokeDecoder
    tiny = {**SketchModel.tiny, "latent": 5, "encoder_width": 8}

    def __init__(
        self,
        shape: Shape = (250, ROW),
        latent: int = 128,
        encoder_width: int = 256,
        decoder_width: int = 512,
        mixtures: int = 20,
        recurrent_dropout: float = 0.0,
        prior: PriorFactory = StandardNormal,
        samples: int = 1,
        kl_weight: float = 0.5,
        kl_min: float = 0.2,
        eta_min: float = 0.01,
        annealing: float = 0.99995,
        lr: float = 1e-3,
        optimizer: OptimizerFactory | None = None,
        lr_scheduler: SchedulerFactory | None = None,
        lr_interval: Interval = "epoch",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.longest = longest(shape)
        require(1, latent=latent, samples=samples)
        require(1, encoder_width=encoder_width, decoder_width=decoder_width, mixtures=mixtures)
        require_not_negative(kl_weight=kl_weight, kl_min=kl_min)
        require_share(recurrent_dropout=recurrent_dropout, eta_min=eta_min, annealing=annealing)
        require_positive(lr=lr)
        self.posterior = GaussianPosterior(StrokeEncoder(2 * latent, encoder_width, recurrent_dropout))
        self.prior = prior(latent, shape, self.posterior)
        self.likelihood = StrokeDecoder(latent, decoder_width, mixtures, recurrent_dropout, self.longest)
        self.latent, self.samples = latent, samples
        self.lr, self.optimizer, self.lr_scheduler, self.lr_interval = lr, optimizer, lr_scheduler, lr_interval
        self.kl_weight, self.kl_min, self.eta_min, self.annealing = kl_weight, kl_min, eta_min, annealing

    def objective(self, trace: Trace) -> Tensor:
        """Reduce what was drawn to minus the loss, (B,)."""
        training = self.training and self._trainer is not None  # without a Trainer there are no steps
        eta = 1 - (1 - self.eta_min) * self.annealing**self.global_step if training else 1.0
        kl = trace.kl.mean() / self.latent
        kl = (processes.mean(kl) if training else kl).clamp(min=self.kl_min)
        return trace.log_px.mean(0) / self.longest - self.kl_weight * eta * kl

    def reconstruction_errors(self, trace: Trace) -> dict[str, Tensor]:
        """Return nothing: two sketches with different numbers of points have no squared distance."""
        return {}

    @inference
    def decode(self, z: Tensor, y: Tensor | None = None, *, temperature: float | None = None) -> Tensor:
        """Sample a sketch for each code (B, D), (B, T, 5), T <= N_max + 1, at a temperature (eq. 8).

        At 0, the default, it takes what is likeliest, point by point.
        """
        z, y = self.checked_codes(z, y)
        return self.likelihood.sample(z, 0.0 if temperature is None else temperature)

    def codes_of(self, x: Tensor) -> Tensor:
        """Return the posterior's centres (B, D) of sketches (B, T, 5)."""
        return self.encode(x)
