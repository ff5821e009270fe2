"""Where the trainings of a comparison or a search are carried out: one engine a file.

An engine of your own derives from `Executor`; ``--executor mymodule.MyEngine`` takes it by its class path.
"""

from vae_zoo.executors.base import LOST, Executor, Handle, Job
from vae_zoo.executors.local import Local
from vae_zoo.executors.ray import Ray
from vae_zoo.executors.slurm import Slurm

__all__ = ["LOST", "Executor", "Handle", "Job", "Local", "Ray", "Slurm"]
