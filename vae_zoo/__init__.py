"""Train, measure and compare autoencoder-family image models under identical conditions."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from vae_zoo.models import GenerativeModel

__version__ = version("vae_zoo")
__all__ = ["__version__", "load", "load_images"]


def load(
    path: str | Path, *, revision: str | None = None, trust: Sequence[str] = (), allow_nonfinite: bool = False
) -> "GenerativeModel":
    """Load any model of this package, whatever its class, on the CPU and in evaluation mode.

    What is read is not trusted: nothing is imported or called but what `vae_zoo.trust` lists, the classes of this
    package above all.

    Args:
        path: a ``.ckpt`` file, such as ``runs/vae/version_0/checkpoints/last.ckpt``; a folder that ``vae-zoo export``
            wrote, or its ``https://`` address; or ``user/name`` or ``user/name@revision`` on the Hugging Face Hub,
            unless there is such a path here. The model's `source` then tells the commit.
        revision: a branch, a tag or a commit of a model on the Hub; None is the newest.
        trust: modules of your own that the file may name, such as ``["mynet"]``, and all below them.
        allow_nonfinite: whether weights may be infinite or not a number.

    Raises:
        UserError: if it is missing, damaged, no model, or one of something else, if it cannot be fetched, or if it
            names what is not trusted.
        ModuleNotFoundError: if it is on the Hub, and huggingface_hub is not installed.
    """
    from vae_zoo.models import GenerativeModel  # here, since torch takes seconds that `vae-zoo --help` need not wait
    from vae_zoo.sharing.places import find

    found, source = find(path, revision)
    model = GenerativeModel.load_from_checkpoint(found, trust=trust, allow_nonfinite=allow_nonfinite).eval()
    model.source = source
    return model


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
