"""What models of sketches share."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vae_zoo import rendering
from vae_zoo.models.base import GenerativeModel
from vae_zoo.strokes import check_sketches, check_strokes


class SketchModel(GenerativeModel):
    """A model of sketches (B, T, 5), see `vae_zoo.strokes`."""

    pixels = False
    has_temperature = True
    tiny = {"shape": (20, 5), "decoder_width": 8, "mixtures": 3}

    def check(self, x: Any, values: bool = True) -> None:
        """Refuse what is no batch of sketches (B, T, 5), each of which ends."""
        check_sketches(x)
        if values:
            check_strokes(x)

    def pictures(self, x: Tensor) -> Tensor:
        """Render sketches (B, T, 5) in black on white, (B, 1, 64, 64) in [0, 1]."""
        self.check(x)
        return rendering.rasterise(x.float()).to(x.device)

    def svg(self, rows: Sequence[Tensor]) -> str:
        """Render rows of sketches, (B, T, 5) each, as an SVG document."""
        return rendering.svg(rows)
