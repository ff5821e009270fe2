"""Files of codes, as ``vae-zoo encode`` writes them: read without trusting what they say."""

import zipfile
from pathlib import Path

import torch
from torch import Tensor

from vae_zoo.data.arrays import read_npz
from vae_zoo.errors import UserError
from vae_zoo.latent import weights_of
from vae_zoo.models import GenerativeModel


def read_codes(path: Path, model: GenerativeModel) -> tuple[Tensor, list[str]]:
    """Return the codes (N, D), or maps, of an ``.npz``, and the names of what they are of; none if it has no names.

    Args:
        path: the file.
        model: whose codes they are to be.

    Raises:
        OSError: if the file is not there, or may not be read.
        UserError: if it holds no codes, or the file says that other weights than the model's made them.
    """
    try:
        z = torch.tensor(read_npz(path, "z"))
        with zipfile.ZipFile(path) as members:
            held = {name.removesuffix(".npy") for name in members.namelist()}
        names = read_npz(path, "name").tolist() if "name" in held else []
        weights = read_npz(path, "weights").tolist() if "weights" in held else ""
    except (FileNotFoundError, PermissionError):  # which name the file
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f"{path} has no codes that can be read: {error}") from error
    if not z.is_floating_point():
        raise UserError(f"{path}: z must be floats (N, D), got {z.dtype}")
    if z.ndim < 2 or not len(z) or not isinstance(names, list):
        raise UserError(f"{path}: z must be codes (N, D) of one or more, got {tuple(z.shape)}")
    if weights and weights != weights_of(model):
        raise UserError(f"{path}: these codes were made by other weights than those of this {type(model).__name__}")
    return z, names
