"""Old names of the embedded sketches, until the command names the new ones."""

from vae_zoo.data.generated_sketches import generate_sketches as draw_doodles

__all__ = ["draw_doodles"]
