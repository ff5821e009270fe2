"""The autoencoder (Hinton & Salakhutdinov 2006)."""

from torch import Tensor

from vae_zoo.distributions import Gaussian, LikelihoodFactory, PointPosterior, StandardNormal
from vae_zoo.errors import require, require_positive
from vae_zoo.models.base import Autoencoder
from vae_zoo.networks import ConvDecoder, ConvEncoder, DecoderFactory, EncoderFactory, Shape


class AE(Autoencoder):
    """Autoencoder (Hinton & Salakhutdinov 2006): the floor for the reconstruction error.

    loss = -log p(x | z = f(x)), which is half the squared error, up to a constant, for the default Gaussian.
    Its codes follow no prior, and it has no density: `sample` decodes draws of N(0, I) all the same, to show what
    that costs, and there is no `log_prob`.

    Args:
        shape: (C, H, W) of the images.
        latent: D, the number of code dimensions.
        encoder: called with (shape, latent), gives the network f.
        decoder: called with (latent, shape), gives the network to the likelihood's parameters.
        likelihood: called with the decoder, gives p(x|z).
        lr: Adam's learning rate.

    Raises:
        UserError: if the networks cannot make images of `shape`, or a number is too small.
    """

    def __init__(
        self,
        shape: Shape = (3, 64, 64),
        latent: int = 64,
        encoder: EncoderFactory = ConvEncoder,
        decoder: DecoderFactory = ConvDecoder,
        likelihood: LikelihoodFactory = Gaussian,
        lr: float = 1e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        require(1, latent=latent)
        require_positive(lr=lr)
        self.posterior = PointPosterior(encoder(shape, latent))
        self.prior = StandardNormal(latent)
        self.likelihood = likelihood(decoder(latent, shape))
        self.lr = lr

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return -log p(x | f(x)), averaged over the batch, in nats."""
        x, y = batch
        loss = -self.likelihood(self.posterior(x, y).rsample(), y).log_prob(x).mean()
        self.log_training(loss=loss, reconstruction=-loss)
        return loss
