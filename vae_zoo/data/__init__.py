"""Data sets. Images are uint8 on disk and in memory, float in [0, 1] at a model's door."""

from vae_zoo.data.coco import COCODataModule

__all__ = ["COCODataModule"]
