"""``vae-zoo arithmetic``: put an attribute onto pictures, or calculate A - B + C, and measure what came of it."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vae_zoo.cli.pictures import begin, decoder, make_parser, write_captioned
from vae_zoo.cli.sketches import chosen
from vae_zoo.cli.trained import data_of_run
from vae_zoo.data.arrays import read_npz
from vae_zoo.data.module import DataModule
from vae_zoo.data.pictures import read_pictures
from vae_zoo.errors import UserError
from vae_zoo.latent import AttributeProbe, AttributeVector, analogy, around
from vae_zoo.models import Autoencoder
from vae_zoo.models.decoding import Decoding
from vae_zoo.writing import whole

WORDS = "picture files, folders or zips; numbers of samples in the grid of this --seed for a model without an encoder"
OF_SKETCHES = "for a model of sketches numbers of test sketches, or names of labels"


def run(arguments: Sequence[str]) -> None:
    """Calculate, write the picture and the numbers."""
    parser = make_parser("arithmetic", "Calculate with codes: an attribute, or A - B + C.", 8, "pictures to change")
    parser.add_argument(
        "--with", nargs="+", metavar="PATH", dest="with_it", help=f"with the attribute, or A: {WORDS}; {OF_SKETCHES}"
    )
    parser.add_argument("--without", nargs="+", metavar="PATH", help="without the attribute, or B; likewise")
    parser.add_argument("--plus", nargs="+", metavar="PATH", help="C, for A - B + C; likewise")
    parser.add_argument("--images", nargs="+", metavar="PATH", help="pictures to change (default: those without)")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.0, 0.5, 1.0, 1.5, 2.0], help="a row each")
    parser.add_argument("--noise", type=float, default=0.25, help="around A - B + C (default %(default)s)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the attribute's vector, an .npz")
    parser.add_argument("--vector", type=Path, metavar="FILE", help="a vector that was kept, in place of two groups")
    options = parser.parse_args(arguments)
    if options.vector is None and not (options.with_it and options.without):
        raise UserError("an attribute needs --with and --without, or the --vector of an earlier one")
    if options.vector and not options.images:
        raise UserError("--vector needs --images to change")
    model, checkpoint, label = begin(options)
    if model.labels:
        raise UserError(f"{type(model).__name__} is given the label, which its codes then do not tell; use relabel")
    makes = decoder(model, "calculate")
    data = (
        None
        if model.pixels
        else data_of_run(checkpoint, model, "the test sketches are those of its run", options.trust)
    )
    groups = {name: _pictures(makes, paths, options, data) for name, paths in _given(options)}
    codes = {name: z for name, (z, _) in groups.items()}
    found: dict = {"model": type(model).__name__, "pictures": {name: len(z) for name, z in codes.items()}}
    rows: list[tuple[str, Tensor]] = []
    if options.plus:
        z = analogy(codes["with"], codes["without"], codes["plus"])
        x = {name: pictures for name, (_, pictures) in groups.items()}
        made = makes.decode(around(z, 9, options.noise))
        rows += [(name, pictures[: options.n]) for name, pictures in x.items()]
        rows += [("A - B + C", made)]
        if model.pixels:
            rows += [("in pixels", (x["with"].mean(0) - x["without"].mean(0) + x["plus"].mean(0)).clamp(0, 1)[None])]
    else:
        vector = _vector(options, codes)
        kept = codes.get("images", codes.get("without"))
        assert kept is not None
        kept = kept[: options.n]
        made = makes.decode(vector.added(kept, options.strengths).flatten(0, 1))
        by_strength = made.split(len(kept))
        rows += [(f"{strength:+g}", x) for strength, x in zip(options.strengths, by_strength, strict=True)]
        found |= {"attribute": vector.name, "strengths": options.strengths}
        if options.save:
            vector.write(options.save)
            print(f"wrote {options.save}")
    if "with" in groups and "without" in groups:
        probe = AttributeProbe(model, groups["with"][1], groups["without"][1])
        scores = [float(probe.score(x).mean()) for _, x in rows]
        found |= {"probe_accuracy": probe.accuracy, "scores": scores}
        rows = [(f"{name}: {score:.2f}", x) for (name, x), score in zip(rows, scores, strict=True)]
        print(f"the probe tells the groups apart with an accuracy of {probe.accuracy:.2f}; before each row its score")
    write_captioned([(name, model.pictures(x)) for name, x in rows], options.out)
    with whole(options.out.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n")


def _given(options: argparse.Namespace) -> list[tuple[str, list[str]]]:
    named = {"with": options.with_it, "without": options.without, "plus": options.plus, "images": options.images}
    return [(name, paths) for name, paths in named.items() if paths]


def _pictures(
    makes: Decoding, words: Sequence[str], options: argparse.Namespace, data: DataModule | None
) -> tuple[Tensor, Tensor]:
    """Codes and pictures of a group: of files, of test sketches, or of samples by their numbers in a grid."""
    if data and isinstance(makes, Autoencoder):
        x, _ = chosen(words, data)
        return torch.cat([makes.encode(part) for part in x.split(256)]), x
    if isinstance(makes, Autoencoder):
        x, _ = read_pictures([Path(word) for word in words], makes.hparams["shape"])
        return makes.encode(x), x
    if not all(word.isdecimal() for word in words):
        raise UserError(f"{type(makes).__name__} has no encoder: give numbers of samples, as vae-zoo sample draws them")
    numbers = [int(word) for word in words]
    torch.manual_seed(options.seed)
    z = makes.sample_prior(max(64, max(numbers) + 1))[numbers]
    return z, makes.decode(z)


def _vector(options: argparse.Namespace, codes: dict[str, Tensor]) -> AttributeVector:
    if options.vector:
        try:
            vector, name = torch.tensor(read_npz(options.vector, "vector")), str(read_npz(options.vector, "name"))
        except Exception as error:  # a damaged file can fail in any way
            raise UserError(f"{options.vector} has no vector that can be read: {error}") from error
        if not vector.is_floating_point() or not vector.isfinite().all():
            raise UserError(f"{options.vector}: its vector must be of finite floats")
        return AttributeVector(vector, name)
    return AttributeVector.between(codes["with"], codes["without"], " ".join(options.with_it))
