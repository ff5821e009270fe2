"""Callbacks: optional behaviour around a model's training. Only a schedule changes what is learned."""

from vae_zoo.callbacks.advice import Advice
from vae_zoo.callbacks.evaluation import Evaluation
from vae_zoo.callbacks.guard import Guard
from vae_zoo.callbacks.noise import Noise
from vae_zoo.callbacks.of_trainer import RunFolder
from vae_zoo.callbacks.pictures import LabelGrid, SampleImages
from vae_zoo.callbacks.schedule import BurdaSchedule
from vae_zoo.callbacks.sketches import Drawings
from vae_zoo.callbacks.timing import Timing

__all__ = [
    "Advice",
    "BurdaSchedule",
    "Drawings",
    "Evaluation",
    "Guard",
    "LabelGrid",
    "Noise",
    "RunFolder",
    "SampleImages",
    "Timing",
]
