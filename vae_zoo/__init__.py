"""Train, measure and compare autoencoder-family image models under identical conditions."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from vae_zoo.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from vae_zoo.models import GenerativeModel

__version__ = version("vae_zoo")
__all__ = ["__version__", "load", "load_images"]


def load(path: str | Path) -> "GenerativeModel":
    """Load the model of any checkpoint of this package, whatever its class, on the CPU and in evaluation mode.

    Args:
        path: a ``.ckpt`` file, such as ``runs/vae/version_0/checkpoints/last.ckpt``.

    Raises:
        UserError: if the file is missing, is no checkpoint, or is a checkpoint of something else.
    """
    from vae_zoo.models import GenerativeModel  # here, since torch takes seconds that `vae-zoo --help` need not wait

    if not Path(path).is_file():
        raise UserError(f"{path}: there is no such checkpoint file")
    try:
        model = GenerativeModel.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no checkpoint can fail in any way
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{path} is not a checkpoint of a vae_zoo model ({type(error).__name__}: {reason})") from error
    return model.eval()


def load_images(paths: "str | Path | Sequence[str | Path]", model: "GenerativeModel") -> "Tensor":
    """Read pictures as a model was trained on them: a batch (N, C, H, W) in [0, 1], on the model's device.

    Args:
        paths: picture files, folders and zips, or one of them; of folders and zips all pictures in them, sorted.
        model: whose shape they get: upright, scaled to cover it, the centre kept.

    Raises:
        UserError: if a path does not exist, a picture cannot be read, there is none, or the model has sketches.
    """
    from vae_zoo.data.pictures import read_pictures

    images, _ = read_pictures(paths, model.hparams["shape"])
    return images.to(model.device)
