"""Data sets. Images are uint8 on disk and in memory, float in [0, 1] at a model's door; sketches are float."""

from vae_zoo.data.binarized_mnist import BinarizedMNIST
from vae_zoo.data.coco import COCODataModule
from vae_zoo.data.coco_sketches import COCOSketches
from vae_zoo.data.dynamic_mnist import DynamicMNIST
from vae_zoo.data.frey_faces import FreyFaces
from vae_zoo.data.images import ImageDataModule, ImageDataset
from vae_zoo.data.mnist import MNIST
from vae_zoo.data.module import DataModule, Facts
from vae_zoo.data.sketches import Sketches
from vae_zoo.data.streaming import StreamingImages

__all__ = [
    "BinarizedMNIST",
    "COCODataModule",
    "COCOSketches",
    "DataModule",
    "DynamicMNIST",
    "Facts",
    "FreyFaces",
    "ImageDataModule",
    "ImageDataset",
    "MNIST",
    "Sketches",
    "StreamingImages",
]
