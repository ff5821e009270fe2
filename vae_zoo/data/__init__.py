"""Data sets. Images are uint8 on disk and in memory, float in [0, 1] at a model's door."""

from vae_zoo.data.binarized_mnist import BinarizedMNIST
from vae_zoo.data.coco import COCODataModule
from vae_zoo.data.frey_faces import FreyFaces

__all__ = ["BinarizedMNIST", "COCODataModule", "FreyFaces"]
