"""A trained decoder as one page of HTML: the weights inside, computed by the browser that opens it."""

import base64
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MixtureSameFamily, Normal, Uniform

from vae_zoo.errors import UserError, require
from vae_zoo.latent import informative
from vae_zoo.marks import WRITTEN, refuse_foreign
from vae_zoo.models import Autoencoder
from vae_zoo.models.base import inference
from vae_zoo.models.decoding import Decoding
from vae_zoo.page.layers import Layers
from vae_zoo.page.taking import take_apart
from vae_zoo.rendering import data_url, pil
from vae_zoo.templates import environment
from vae_zoo.writing import whole

LARGEST = 16_000_000  # bytes of weights: more is no page that one sends to somebody
CLOSE = 5e-4  # of [0, 1], to which weights of 16 bits must keep; what is shown has steps of 4e-3
SAME = 1e-3  # of [0, 1], to which the page must keep in any case
TRIED = 64  # draws of the prior, and as many codes of pictures, that this is measured by
BANK = 256  # draws that stand for a prior that the page cannot draw from


@inference
def write_page(
    model: Decoding,
    path: Path,
    title: str,
    x: Tensor | None = None,
    y: Tensor | None = None,
    labels: Sequence[str] = (),
    pictures: int = 8,
    sliders: int = 12,
) -> dict[str, Any]:
    """Write the page.

    Args:
        model: that decodes to images.
        path: of the file.
        title: of the page.
        x: images (N, C, H, W) in [0, 1] for a model with an encoder, by which the numbers of a code are put in order.
        y: their labels (N,), for a model that takes them.
        labels: names of the labels, which such a model has as many of.
        pictures: how many of the images, evenly from the first to the last, the page holds to choose from.
        sliders: how many numbers of a code can be changed.

    Returns:
        "bytes" of the file; "bits" of a weight in it, 16 or 32; and "difference", the largest of a pixel in [0, 1]
        between the model and what those weights decode to.

    Raises:
        UserError: if it makes no images, a page cannot compute its decoder or hold its weights, or `path` is a file of
            another kind.
    """
    require(0, pictures=pictures)
    require(1, sliders=sliders)
    name = type(model).__name__
    if not model.pixels:
        raise UserError(
            f"{name} makes sketches, and the page draws pixels; vae-zoo interpolate --out way.svg shows some"
        )
    shape = tuple(model.hparams["shape"])
    if shape[0] not in (1, 3):
        raise UserError(f"{name} makes images of {shape[0]} channels, and the page shows those of 1 or 3")
    refuse_foreign(path)
    model = model.cpu()
    codes = model.encode(x, y).flatten(1) if x is not None and isinstance(model, Autoencoder) else None
    shown = [] if codes is None else torch.linspace(0, len(codes) - 1, min(pictures, len(codes))).long().tolist()
    layers = take_apart(model)
    bits, difference = _checked(model, layers, codes, y)
    packed = layers.packed(bits)
    if len(packed) > LARGEST:
        raise UserError(
            f"{name}'s decoder has {len(packed) / 1e6:.1f} MB of weights, and the page is for at most "
            f"{LARGEST / 1e6:.0f} MB; train a narrower decoder, or look at this one with vae-zoo traverse"
        )
    numbers = model.code_shape.numel()
    order = list(range(numbers))
    texts, which = [""] * numbers, "The first ones."
    if codes is not None and isinstance(model, Autoencoder):
        told, what = informative(model, [(x, y)])  # type: ignore[list-item]
        order = told.argsort(descending=True, stable=True).tolist()
        figure, _, unit = what.partition(", ")
        texts = [f"{figure} {each:#.3g} {unit}".strip() for each in told.tolist()]
        which = f"Those with the largest {figure}."
    low, high = _range(model, codes)
    priors = [_prior(model, each) for each in _each_label(model)]
    data = {
        "model": {
            "layers": layers.layers,
            "output": layers.output,
            "bits": bits,
            "constants": [
                {"number": number, "shape": list(value.shape), "labelled": number in layers.labelled}
                for number, value in layers.constants.items()
            ],
        },
        "shape": shape,
        "priors": priors if any(each != priors[0] for each in priors) else priors[:1],
        "labels": [str(each) for each in labels] or [str(each) for each in range(model.labels)],
        "low": low.tolist(),
        "high": high.tolist(),
        "sliders": [{"dimension": d, "text": texts[d]} for d in order[:sliders]],
        "pictures": [_picture(x[i], codes[i], y, i) for i in shown] if x is not None and codes is not None else [],
    }
    content = {"title": title, "numbers": numbers, "regularised": model.regularised, "which": which}
    with whole(path) as temporary:
        temporary.write_bytes(_render({**content, "data": data, "weights": base64.b64encode(packed).decode()}))
    return {"bytes": path.stat().st_size, "bits": bits, "difference": difference}


def _render(content: dict[str, Any]) -> bytes:
    """The page. It allows its own script and style by their hashes, so that no other can run in it."""
    page = environment("vae_zoo.page")
    style = page.get_template("page.css").render(content)
    script = "\n".join(page.get_template(name).render() for name in ("decoder.js", "page.js"))
    hashes = {
        name: f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
        for name, text in (("script", script), ("style", style))
    }
    content = {**content, "style": style, "script": script, "hashes": hashes, "written": WRITTEN}
    return page.get_template("page.html.j2").render(content).encode()


def _checked(model: Decoding, layers: Layers, codes: Tensor | None, y: Tensor | None) -> tuple[int, float]:
    """How many bits of a weight are enough, and the largest difference of a pixel then."""
    tried = torch.arange(TRIED) % model.labels if model.labels else None
    z = model.sample_prior(TRIED, tried)
    if codes is not None:
        z = torch.cat([z, codes[:TRIED].view(-1, *model.code_shape)])
        tried = None if tried is None or y is None else torch.cat([tried, y[:TRIED]])
    truth = model.decode(z, tried)
    label = [0] * len(z) if tried is None else tried.tolist()
    difference = float("nan")
    for bits, close, those in ((16, CLOSE, layers.rounded()), (32, SAME, layers)):
        made = torch.stack([those(code[None], each) for code, each in zip(z, label, strict=True)])
        difference = float((made - truth).abs().max())
        if difference < close:
            return bits, difference
    raise UserError(
        f"{type(model).__name__}'s decoder, taken apart for the page, decodes to pixels that are {difference:.2g} from "
        "its own, so there is no page"
    )


def _each_label(model: Decoding) -> list[Tensor | None]:
    """Each label (1,); a single None for a model that takes none."""
    return [torch.tensor([label]) for label in range(model.labels)] or [None]


def _prior(model: Decoding, y: Tensor | None) -> dict[str, Any]:
    """What the page draws codes from: a normal, a mixture of normals, a uniform, else draws that were made here."""
    prior: Distribution = model.prior(y)
    numbers = model.code_shape.numel()
    match prior:
        case Independent(base_dist=Normal() as normal):
            mean, sigma = (each.reshape(1, numbers).tolist() for each in (normal.mean, normal.stddev))
            return {"middle": mean[0], "weights": [1.0], "mean": mean, "sigma": sigma}
        case Independent(base_dist=Uniform() as uniform):
            low, high, middle = (each.flatten().tolist() for each in (uniform.low, uniform.high, uniform.mean))
            return {"middle": middle, "low": low, "high": high}
        case MixtureSameFamily(
            mixture_distribution=mixture, component_distribution=Independent(base_dist=Normal() as normal)
        ) if mixture.probs.ndim == 1:
            mean, sigma = (each.reshape(-1, numbers).tolist() for each in (normal.mean, normal.stddev))
            middle = prior.mean.flatten().tolist()
            return {"middle": middle, "weights": mixture.probs.tolist(), "mean": mean, "sigma": sigma}
    draws = model.sample_prior(BANK, None if y is None else y.expand(BANK)).flatten(1)
    return {"middle": draws.mean(0).tolist(), "draws": draws.tolist()}


def _range(model: Decoding, codes: Tensor | None) -> tuple[Tensor, Tensor]:
    """From where to where each slider goes, (D,), (D,): all codes, and the prior's quantiles at 0.1 % and 99.9 %.

    Of a model whose codes do not follow the prior, the codes alone.
    """
    ends = [] if codes is None else [codes]
    for y in _each_label(model) if codes is None or model.regularised else ():
        try:
            ends += [model.icdf(torch.full((1, *model.code_shape), share), y).flatten(1) for share in (0.001, 0.999)]
        except UserError:  # its numbers are not independent
            ends.append(model.sample_prior(1000, None if y is None else y.expand(1000)).flatten(1))
    return torch.cat(ends).amin(0), torch.cat(ends).amax(0)


def _picture(image: Tensor, code: Tensor, y: Tensor | None, row: int) -> dict[str, Any]:
    file = io.BytesIO()
    pil(image).save(file, "PNG", optimize=True)
    return {"src": data_url(file.getvalue(), "png"), "code": code.tolist(), "label": 0 if y is None else int(y[row])}
