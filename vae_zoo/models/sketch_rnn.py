"""Sketch-RNN (Ha & Eck 2017)."""

from torch import Tensor
from torch.distributions import Distribution

from vae_zoo import objectives
from vae_zoo.distributions import GaussianPosterior, StandardNormal
from vae_zoo.errors import require, require_positive, require_share
from vae_zoo.models.base import LatentVariableModel, SketchModel, inference
from vae_zoo.networks import Shape
from vae_zoo.objectives import Terms
from vae_zoo.strokes import ROW, StrokeDecoder, StrokeEncoder, longest


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
        samples: draws of z per sketch in training.
        kl_weight: w.
        kl_min: KL_min, nats per latent dimension that cost nothing.
        eta_min: the KL's share of its weight at the first step.
        annealing: R, by which the rest shrinks at each step; 0 is the whole weight from the second step on.
        lr: Adam's learning rate.

    Raises:
        UserError: if a number is out of range.
    """

    likelihood: StrokeDecoder

    def __init__(
        self,
        shape: Shape = (250, ROW),
        latent: int = 128,
        encoder_width: int = 256,
        decoder_width: int = 512,
        mixtures: int = 20,
        recurrent_dropout: float = 0.0,
        samples: int = 1,
        kl_weight: float = 0.5,
        kl_min: float = 0.2,
        eta_min: float = 0.01,
        annealing: float = 0.99995,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.longest = longest(shape)
        require(1, latent=latent, samples=samples)
        require(0, kl_weight=kl_weight, kl_min=kl_min)
        require_share(recurrent_dropout=recurrent_dropout, eta_min=eta_min, annealing=annealing)
        require_positive(lr=lr)
        self.posterior = GaussianPosterior(StrokeEncoder(2 * latent, encoder_width, recurrent_dropout))
        self.prior = StandardNormal(latent)
        self.likelihood = StrokeDecoder(latent, decoder_width, mixtures, recurrent_dropout, self.longest)
        self.latent, self.samples, self.lr = latent, samples, lr
        self.kl_weight, self.kl_min, self.eta_min, self.annealing = kl_weight, kl_min, eta_min, annealing

    def objective(self, terms: Terms) -> Tensor:
        """Reduce the terms to minus the loss, (B,)."""
        training = self.training and self._trainer is not None  # without a Trainer there are no steps
        eta = 1 - (1 - self.eta_min) * self.annealing**self.global_step if training else 1.0
        kl = (objectives.kl(terms).mean() / self.latent).clamp(min=self.kl_min)
        return terms.log_px.mean(0) / self.longest - self.kl_weight * eta * kl

    def errors(self, x: Tensor, centre: Distribution, drawn: Distribution) -> tuple[dict[str, Tensor], None]:
        """Return nothing: two sketches with other numbers of points have no squared distance."""
        return {}, None

    @inference
    def sample(self, n: int, y: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        """Draw `n` sketches (n, T, 5), T <= N_max + 1, from the prior; at temperature 1 the model's own (eq. 8)."""
        return self.decode(self.sample_prior(n), temperature=temperature)

    @inference
    def decode(self, z: Tensor, y: Tensor | None = None, *, temperature: float = 0.0) -> Tensor:
        """Draw a sketch for each code (B, D), (B, T, 5): at temperature 0 what is likeliest, point by point."""
        return self.likelihood.draw(z, temperature)

    @inference
    def reconstruct(self, x: Tensor, y: Tensor | None = None, *, temperature: float = 0.0) -> Tensor:
        """Draw sketches (B, T', 5) from the codes of sketches (B, T, 5)."""
        return self.decode(self.encode(x), temperature=temperature)
