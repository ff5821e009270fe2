"""The autoencoder (Hinton & Salakhutdinov 2006)."""

from torch import Tensor

from vae_zoo.distributions import Gaussian, LikelihoodFactory, StandardNormal, wide
from vae_zoo.errors import require, require_positive
from vae_zoo.models.base import Autoencoder, Measured, inference, squared_error
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
        self.encoder = encoder(shape, latent)
        self.prior = StandardNormal(latent)
        self.likelihood = likelihood(decoder(latent, shape))
        self.lr = lr

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return -log p(x | f(x)), averaged over the batch, in nats."""
        x, _ = batch
        loss = -self.likelihood(wide(self.encoder(x))).log_prob(x).mean()
        self.log_training(loss=loss, reconstruction=-loss)
        return loss

    def measure(self, x: Tensor, y: Tensor | None = None) -> Measured:
        """Evaluate images: -log p(x | f(x)) as the loss, and the squared error of the reconstruction."""
        z = wide(self.encoder(x))  # B D
        p = self.likelihood(z)
        log_px = p.log_prob(x)  # B
        mse = squared_error(x, p.mean)  # B
        # The encoder draws nothing, so the squared error of a draw is that of the code.
        per_image = {"loss": -log_px, "reconstruction": log_px, "mse": mse, "mse_sampled": mse}
        return Measured(per_image=per_image, codes=z, draws=z, kl=None)

    @inference
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the codes f(x), (B, D), of images (B, C, H, W) in [0, 1]."""
        return wide(self.encoder(x))
