"""What `test` reports, the same for every model."""

from vae_zoo.metrics.codes import active_units, code_mmd
from vae_zoo.metrics.evaluation import Evaluation, bits_per_dim
from vae_zoo.metrics.images import Inception, fid, kid

__all__ = ["Evaluation", "Inception", "active_units", "bits_per_dim", "code_mmd", "fid", "kid"]
