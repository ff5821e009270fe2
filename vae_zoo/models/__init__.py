"""The models, each constructed with no argument: for images of 3 x 64 x 64 with values in [0, 1], or for sketches."""

import inspect

import vae_zoo.priors  # noqa: F401  so that a checkpoint may name them
from vae_zoo.models.aae import AAE
from vae_zoo.models.ae import AE
from vae_zoo.models.base import GenerativeModel
from vae_zoo.models.cvae import CVAE
from vae_zoo.models.dcgan import DCGAN
from vae_zoo.models.ebgan import EBGAN
from vae_zoo.models.iaf import IAFVAE
from vae_zoo.models.iwae import IWAE
from vae_zoo.models.latent import Autoencoder, LatentVariableModel
from vae_zoo.models.mcem import MCEM
from vae_zoo.models.sketch_decoder import SketchDecoder
from vae_zoo.models.sketch_rnn import SketchRNN
from vae_zoo.models.stackgan import StackGAN
from vae_zoo.models.vae import VAE
from vae_zoo.models.wake_sleep import WakeSleep

__all__ = [
    "AAE",
    "AE",
    "Autoencoder",
    "CVAE",
    "DCGAN",
    "EBGAN",
    "GenerativeModel",
    "IAFVAE",
    "IWAE",
    "LatentVariableModel",
    "MCEM",
    "SketchDecoder",
    "SketchRNN",
    "StackGAN",
    "VAE",
    "WakeSleep",
]


def concrete() -> list[type[GenerativeModel]]:
    """Return the exported models: the classes that can be constructed."""
    found = [each for each in globals().values() if inspect.isclass(each) and issubclass(each, GenerativeModel)]
    return [cls for cls in found if not inspect.isabstract(cls)]
