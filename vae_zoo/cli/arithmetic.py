"""``vae-zoo arithmetic``: put an attribute onto pictures, or calculate A - B + C, and measure what came of it."""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae_zoo.cli.pictures import begin, decoder, in_parts, make_parser, write_captioned, write_numbers
from vae_zoo.cli.sketches import chosen
from vae_zoo.cli.trained import data_of_run
from vae_zoo.data.arrays import read_npz
from vae_zoo.data.module import DataModule, Part
from vae_zoo.data.pictures import picture_batches, picture_names
from vae_zoo.errors import UserError, require
from vae_zoo.latent import AttributeProbe, AttributeVector, analogy, around
from vae_zoo.latent.arithmetic import FEWEST
from vae_zoo.marks import refuse_foreign
from vae_zoo.models import Autoencoder, GenerativeModel
from vae_zoo.models.decoding import Decoding

WORDS = (
    "picture files, folders or zips; for a model without an encoder, numbers of samples, see --grid; for a model of "
    "sketches, numbers of test sketches, or names of labels"
)
BATCH = 256  # pictures at a time
RANDOM = 10  # directions that an attribute's is compared with

Batches = Iterator[tuple[Tensor, Tensor]]  # of codes and their pictures


class Group(NamedTuple):
    """What is kept of a group of pictures, however many there are.

    Attributes:
        z: their codes (N, D), or maps.
        features: what the probe sees of them, (N, F).
        shown: the first of them (n, C, H, W).
        mean: of all of them, (C, H, W).
    """

    z: Tensor
    features: Tensor
    shown: Tensor
    mean: Tensor


def run(arguments: Sequence[str]) -> None:
    """Calculate, write the picture and the numbers."""
    text = "Calculate with codes: an attribute, or A - B + C."
    parser = make_parser("arithmetic", text, 8, "pictures to change", columns=None)
    parser.add_argument("--with", nargs="+", metavar="PATH", dest="with_it", help=f"with the attribute, or A: {WORDS}")
    parser.add_argument("--without", nargs="+", metavar="PATH", help="without the attribute, or B; likewise")
    parser.add_argument("--plus", nargs="+", metavar="PATH", help="C, for A - B + C; likewise")
    parser.add_argument("--category", metavar="NAME", help="a label: the run's training pictures with and without it")
    parser.add_argument(
        "--images",
        nargs="+",
        metavar="PATH",
        help="pictures to change (default: some of those without the attribute, which are then kept out of the vector "
        "and of the probe; with --category test pictures without it; other samples of the grid)",
    )
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.0, 0.5, 1.0, 1.5, 2.0], help="a row each")
    parser.add_argument("--noise", type=float, default=0.25, help="around A - B + C (default %(default)s)")
    parser.add_argument("--grid", type=int, default=64, help="samples that have numbers, as sample --n (%(default)s)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the attribute's vector, an .npz")
    parser.add_argument("--vector", type=Path, metavar="FILE", help="a vector that was kept, in place of two groups")
    options = parser.parse_args(arguments)
    _check(options)
    model, checkpoint, _ = begin(options)
    if model.labels:
        raise UserError(f"{type(model).__name__} is given the label, which its codes then do not tell; use relabel")
    makes = decoder(model, "calculate")
    groups = {name: _gather(makes, name, pairs, options.n) for name, pairs in _sources(makes, checkpoint, options)}
    found: dict[str, Any] = {"model": type(model).__name__}
    calculate = _analogy if options.plus else _attribute
    rows = calculate(makes, groups, options, found)
    write_captioned([(name, model.pictures(x)) for name, x in rows], options.out)
    write_numbers(options.out, "arithmetic", found)


def _check(options: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    both, some = options.with_it and options.without, options.with_it or options.without
    if options.category and some:
        raise UserError("--category chooses both groups; leave --with and --without out")
    if bool(some) != bool(both) or not (both or options.category or options.vector):
        raise UserError("an attribute needs --with and --without, or a --category, or the --vector of an earlier one")
    if options.plus and (not both or options.images or options.vector or options.save):
        raise UserError("--plus is C of A - B + C: it needs --with and --without, and no --images, --vector or --save")
    if options.save:
        refuse_foreign(options.save)
    require(1, grid=options.grid)


def _attribute(
    makes: Decoding, groups: dict[str, Group], options: argparse.Namespace, found: dict[str, Any]
) -> list[tuple[str, Tensor]]:
    """The pictures, and below them a row for each strength; with a probe's scores if there are groups to fit it to."""
    if not groups:
        raise UserError("--vector needs --images to change")
    held_out = "images" in groups
    if not held_out:
        without = groups["without"]
        # The probe would know pictures that it was fitted to, so those that are changed are kept from it.
        held = max(0, min(options.n, len(without.z) // 2, len(without.z) - FEWEST))
        held_out = held > 0
        shown = held or min(options.n, len(without.z))
        groups["images"] = Group(without.z[:shown], without.features[:shown], without.shown[:shown], without.mean)
        groups["without"] = without._replace(z=without.z[held:], features=without.features[held:])
    if options.vector:
        vector = _read(options.vector, makes)
    else:
        name = options.category or Path(options.with_it[0]).stem
        vector = AttributeVector.between(groups["with"].z, groups["without"].z, name)
    if options.save:
        vector.write(options.save, makes)
        print(f"wrote {options.save}")
    found |= {"attribute": vector.name, "pictures": {name: len(group.z) for name, group in groups.items()}}
    found |= {"length": float(vector.vector.norm()), "strengths": options.strengths}
    images = groups["images"]
    names = [f"{strength:+g}" for strength in options.strengths]
    rows = dict(zip(names, _decoded(makes, vector, images.z, options.strengths), strict=True))
    if "with" not in groups:
        return [("pictures", images.shown), *rows.items()]
    probe = AttributeProbe(groups["with"].features, groups["without"].features)
    scores = {name: _score(makes, probe, x) for name, x in {"pictures": images.shown, **rows}.items()}
    drawn = [_decoded(makes, vector.random(), images.z, options.strengths) for _ in range(RANDOM)]
    by_chance = {
        name: sum(_score(makes, probe, made[row]) for made in drawn) / RANDOM for row, name in enumerate(names)
    }
    found |= {
        "probe_accuracy": probe.accuracy,
        "probe_error": probe.error,
        "held_out": held_out,
        "scores": scores,
        "scores_random": by_chance,
    }
    n = [len(groups[name].z) for name in ("with", "without")]
    print(f"the probe tells {n[0]} with it from {n[1]} without: {_accuracy(probe)}")
    print(f"its score of the pictures is {scores['pictures']:.2f}; by strength, and in random directions as long:")
    print(", ".join(f"{name}: {scores[name]:.2f} ({by_chance[name]:.2f})" for name in names))
    if not held_out:
        print("these pictures are among those that the probe was fitted to; give others with --images")
    captions = [f"{name}: {score:.2f}" for name, score in scores.items()]
    return list(zip(captions, [images.shown, *rows.values()], strict=True))


def _analogy(
    makes: Decoding, groups: dict[str, Group], options: argparse.Namespace, found: dict[str, Any]
) -> list[tuple[str, Tensor]]:
    """The three groups, what A - B + C decodes to with noise around it, and the same of pixels."""
    a, b, c = (groups[name] for name in ("with", "without", "plus"))
    made = makes.decode(around(analogy(a.z, b.z, c.z), 9, options.noise))
    results = {"C": c.shown, "A - B + C": made}
    if makes.pixels:  # a sum of sketches is no sketch
        results["in pixels"] = (a.mean - b.mean + c.mean).clamp(0, 1)[None]
    probe = AttributeProbe(a.features, b.features)
    scores = {name: _score(makes, probe, x) for name, x in results.items()}
    found |= {"pictures": {name: len(group.z) for name, group in groups.items()}, "noise": options.noise}
    found |= {"probe_accuracy": probe.accuracy, "probe_error": probe.error, "scores": scores}
    print(f"the probe tells A from B: {_accuracy(probe)}; its scores for A:")
    print(", ".join(f"{name}: {score:.2f}" for name, score in scores.items()))
    return [("A", a.shown), ("B", b.shown), *((f"{name}: {scores[name]:.2f}", x) for name, x in results.items())]


def _decoded(makes: Decoding, vector: AttributeVector, z: Tensor, strengths: Sequence[float]) -> tuple[Tensor, ...]:
    """A row of pictures for each strength."""
    return in_parts(makes.decode, vector.added(z, strengths).flatten(0, 1)).split(len(z))


def _accuracy(probe: AttributeProbe) -> str:
    """What is said of how well a probe tells two groups."""
    unsure = ", so whether it tells them at all is not shown" if probe.accuracy - 0.5 < 2 * probe.error else ""
    return f"accuracy {probe.accuracy:.2f} with a standard error of {probe.error:.2f}, where chance has 0.50{unsure}"


def _score(model: GenerativeModel, probe: AttributeProbe, x: Tensor) -> float:
    """The mean probability of the attribute in pictures."""
    return float(probe.score(model.features(x)).mean())


def _sources(makes: Decoding, checkpoint: Path, options: argparse.Namespace) -> Iterator[tuple[str, Batches]]:
    """The groups that the options name, one after the other, and where their pictures come from."""
    named = {"with": options.with_it, "without": options.without, "plus": options.plus, "images": options.images}
    given = {name: paths for name, paths in named.items() if paths}
    if not isinstance(makes, Autoencoder):
        if options.category:
            raise UserError(f"{type(makes).__name__} has no encoder, so the pictures of a --category have no codes")
        yield from _of_grid(makes, given, options)
        return
    if not makes.pixels:
        if options.category:
            raise UserError("--category is of pictures; of sketches, name labels or numbers --with and --without")
        data = data_of_run(checkpoint, makes, "the test sketches are those of its run", options.trust)
        for name, words in given.items():
            x, _ = chosen(words, data)
            x = x[: options.n] if name == "images" else x
            yield name, ((makes.encode(part), part) for part in x.split(BATCH))
        return
    if options.category:
        data = data_of_run(
            checkpoint, makes, "a --category is one of its data; give --with and --without", options.trust
        )
        if options.category not in data.labels:
            known = ", ".join(data.labels[:30]) + (
                f" and {len(data.labels) - 30} more" if len(data.labels) > 30 else ""
            )
            raise UserError(f"--category {options.category}: the run's data have the labels {known}")
        label = data.labels.index(options.category)
        yield "with", _labelled(makes, data, "train", label, True)
        yield "without", _labelled(makes, data, "train", label, False)
        if "images" not in given:
            yield "images", _first(_labelled(makes, data, "test", label, False), options.n)
    _refuse_repeated({name: picture_names([Path(path) for path in paths]) for name, paths in given.items()})
    for name, paths in given.items():
        yield name, _of_files(makes, paths, options.n if name == "images" else None)


def _refuse_repeated(groups: dict[str, list[str]]) -> None:
    """Refuse a picture that is twice in a group, or both with the attribute and without it: a probe would know it."""
    places = {name: [os.path.realpath(each) for each in names] for name, names in groups.items()}
    for name, each in places.items():
        if len(set(each)) < len(each):
            raise UserError(f"--{name}: a picture is named twice, {next(p for p in each if each.count(p) > 1)}")
    if both := {*places.get("with", [])} & {*places.get("without", [])}:
        raise UserError(f"{min(both)} is both --with and --without the attribute")


def _of_files(makes: Autoencoder, paths: Sequence[str], n: int | None) -> Batches:
    for x, _ in picture_batches([Path(path) for path in paths], makes.hparams["shape"], BATCH, n):
        yield makes.encode(x), x


def _labelled(makes: Autoencoder, data: DataModule, part: Part, label: int, has: bool) -> Batches:
    """Pictures of a part that have a label, or have not."""
    for x, y in data.batches(part, BATCH):
        chosen = x[(y == label) == has]
        if len(chosen):
            yield makes.encode(chosen), chosen


def _first(batches: Batches, n: int) -> Batches:
    """The first `n` pictures, and no batch after them."""
    for z, x in batches:
        yield z[:n], x[:n]
        n -= len(x)
        if n <= 0:
            return


def _of_grid(
    makes: Decoding, given: dict[str, list[str]], options: argparse.Namespace
) -> Iterator[tuple[str, Batches]]:
    """Samples by their numbers in the grid that ``vae-zoo sample`` draws with this seed."""
    torch.manual_seed(options.seed)
    z = makes.sample_prior(options.grid)
    numbers = {name: [_number(makes, word, options.grid) for word in words] for name, words in given.items()}
    taken = {number for group in numbers.values() for number in group}
    if "images" not in numbers:
        numbers["images"] = [number for number in range(options.grid) if number not in taken][: options.n]
        if options.plus:
            del numbers["images"]
    for name, all_of_them in numbers.items():
        chosen = all_of_them[: options.n] if name == "images" else all_of_them
        yield name, iter([(z[chosen], makes.decode(z[chosen]))] if chosen else [])


def _number(makes: Decoding, word: str, grid: int) -> int:
    if not word.isdecimal() or len(word) > 9 or int(word) >= grid:
        raise UserError(
            f"{type(makes).__name__} has no encoder: give numbers of samples, 0 to {grid - 1}, as vae-zoo sample "
            f"--numbers shows them, or more with --grid, not {word}"
        )
    return int(word)


def _gather(makes: Decoding, name: str, batches: Batches, n: int) -> Group:
    """Go through a group, a batch at a time."""
    codes, features, shown = list[Tensor](), list[Tensor](), list[Tensor]()
    total = torch.zeros(())
    for z, x in batches:
        codes.append(z)
        features.append(makes.features(x))
        shown.append(x[: max(0, n - sum(len(each) for each in shown))])
        total = total + x.sum(0)
    if not codes:
        raise UserError(f"there is no picture {'to change' if name == 'images' else name + ' the attribute'}")
    z = torch.cat(codes)
    return Group(z, torch.cat(features), torch.cat(shown), total / len(z))


def _read(path: Path, model: GenerativeModel) -> AttributeVector:
    """Read a vector that was kept."""
    try:
        arrays = [read_npz(path, name) for name in ("vector", "name", "weights")]
        vector, name, weights = torch.tensor(arrays[0]), str(arrays[1]), str(arrays[2])
    except (FileNotFoundError, PermissionError):  # which name the file
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f"{path} has no vector that can be read: {error}") from error
    try:
        return AttributeVector.of(model, vector, name, weights)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
