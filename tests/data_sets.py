"""Small data sets for tests, and pictures made by formula."""

import io
import json

import numpy as np
import torch
from PIL import Image

from vae_zoo.data import COCODataModule

SMALL = {"n_train": 40, "n_test": 20, "n_val": 10, "image_size": 16, "batch_size": 16}


def module(root, **changes):
    """A data module of a few small images, set up."""
    data = COCODataModule(str(root), **{**SMALL, **changes})
    data.setup()
    return data


def images(data, part):
    """All (x, y) of a part, as its loader gives them to a model."""
    loader = getattr(data, f"{part}_dataloader")()
    batches = [data.on_after_batch_transfer(batch, 0) for batch in loader]
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def encoded(array, kind, **options):
    """The content of a picture file of this kind."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(array, **options):
    return encoded(array, "JPEG", quality=95, **options)


def gradient(height, width):
    """Dark at the left, light at the right."""
    return np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8)[None, :, None], (height, width, 3)).copy()


def edit(folder, change):
    """Change the annotations of such a copy."""
    path = folder / "annotations" / "instances.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
