"""Where yamls of version 0.1 may say that COCOSketches is."""

from vae_zoo.data.coco_sketches import COCOSketches

__all__ = ["COCOSketches"]
