"""``vae-zoo anomalies``: pictures ranked by how unusual they are for a model, with a threshold and heat maps."""

import argparse
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path, PurePath

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from vae_zoo.callbacks.pictures import captioned
from vae_zoo.cli.pictures import begin, encoder, make_parser, repeated, require_label, save_png, write_numbers
from vae_zoo.cli.trained import data_of_run
from vae_zoo.data.module import DataModule
from vae_zoo.data.pictures import picture_batches, picture_names
from vae_zoo.errors import UserError, amount, require
from vae_zoo.latent import Anomalies, detection, heat_map
from vae_zoo.latent.anomalies import SCORES, require_rate
from vae_zoo.models import GenerativeModel
from vae_zoo.writing import whole

BATCH = 256  # pictures of a run at a time

Batches = Iterator[tuple[Tensor, Tensor | None]]


def run(arguments: Sequence[str]) -> None:
    """Score, rank, and write the picture and the numbers."""
    options = _parse(arguments)
    model, checkpoint, label = begin(options)
    autoencoder = encoder(model, "find anomalies")
    require_label(model, label)
    _check_folders(options.abnormal, picture_names(options.paths))  # before what takes minutes
    names: list[str] = []
    parts: list[dict[str, np.ndarray]] = []
    shown = torch.empty(0, *model.hparams["shape"])  # the most unusual so far: no other picture is kept
    highest = np.empty(0)
    trained_on = 0
    with Progress(TextColumn("{task.completed} pictures"), TimeElapsedColumn(), transient=True) as progress:
        task = progress.add_task("", total=None)

        def counted(batches: Batches) -> Batches:
            for x, y in batches:
                yield x, y
                progress.advance(task, len(x))

        data = None
        if not options.reference:
            data = data_of_run(checkpoint, model, "say which pictures are ordinary with --reference", options.trust)
        known = _known(data)
        reference = counted(_reference(data, label) if data else _files(options.reference, options, model, label, []))
        scorer = Anomalies(autoencoder, reference, options.samples, SCORES if options.abnormal else (options.by,))
        limit = scorer.threshold(options.by, options.false_alarms)
        for x, y in counted(_files(options.paths, options, model, label, names)):
            parts.append(scorer.scores(x, y))
            trained_on += sum(each in known for each in _digests(x))
            both = np.concatenate([highest, parts[-1][options.by]])
            best = np.argsort(-both, kind="stable")[: options.n]
            shown, highest = torch.cat([shown, x])[best], both[best]
    scores = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(-scores[options.by], kind="stable")
    folders = _folders(names)
    called = folders if len(set(folders)) > 1 else [PurePath(name).name for name in names]  # what tells them apart
    above = int((scores[options.by] > limit).sum())
    found = {
        "model": type(model).__name__,
        "by": options.by,
        "false_alarms": options.false_alarms,
        "reference_pictures": len(scorer.reference[options.by]),
        "threshold": limit,
        "above": above,
        "trained_on": trained_on if data else None,
        "samples": options.samples,
        "missing": scorer.missing,
        "pictures": [
            {"name": names[row], **{name: float(each[row]) for name, each in scores.items()}} for row in order
        ],
    }
    if options.abnormal:
        abnormal = np.isin(folders, options.abnormal)
        found["detection"] = {name: detection(each, abnormal) for name, each in scores.items()}
    y = repeated(label, len(shown))
    captions = [f"{called[row]}: {scores[options.by][row]:.4g}" for row in order[: options.n]]
    _draw(captions, shown, autoencoder.reconstruct(shown, y).cpu(), options)
    write_numbers(options.out, "anomalies", found)
    print(
        f"{above} of {amount(len(names), 'picture')} {'scores' if above == 1 else 'score'} above the threshold "
        f"{limit:.4g} by {options.by}; of ordinary pictures, like the {found['reference_pictures']} of the reference, "
        f"at most a share of {options.false_alarms:.4g} would, if the model was not trained on them"
    )
    if trained_on:
        print(f"the model was trained on {trained_on} of these pictures: their scores are too low")
    for name, why in scorer.missing.items():
        print(f"{name:5} left out: {why}")
    for name, each in found.get("detection", {}).items():
        said = f"AUROC {each['auroc']:.3f}, average precision {each['average_precision']:.3f}"
        print(f"{name:5} {said}; chance 0.500, {each['share']:.3f}")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    text = "Rank pictures by how unusual they are for a model."
    parser = make_parser("anomalies", text, 24, "pictures to show", columns=3)
    parser.add_argument("paths", type=Path, nargs="+", help="picture files, folders or zips")
    parser.add_argument(
        "--reference",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="ordinary pictures, not trained on (default: the run's validation images, or its test images)",
    )
    parser.add_argument(
        "--by",
        choices=SCORES,
        default="mse",
        help="rank by -log p(x), the reconstruction's squared error, or the code's distance (default %(default)s)",
    )
    parser.add_argument("--false_alarms", type=float, default=0.05, help="at the threshold (default %(default)s)")
    parser.add_argument("--samples", type=int, default=50, help="draws for each -log p(x) (default %(default)s)")
    parser.add_argument("--abnormal", nargs="+", metavar="FOLDER", help="names of the folders of abnormal pictures")
    parser.add_argument("--batch_size", type=int, default=256, help="pictures at a time (default %(default)s)")
    options = parser.parse_args(arguments)
    require(1, batch_size=options.batch_size, samples=options.samples)
    require_rate(options.false_alarms)
    return options


def _files(
    paths: Sequence[Path], options: argparse.Namespace, model: GenerativeModel, label: int | None, names: list[str]
) -> Batches:
    """The pictures of files, with the label that is given; their names are added to a list."""
    for x, more in picture_batches(paths, model.hparams["shape"], options.batch_size):
        names.extend(more)
        yield x, repeated(label, len(x))


def _reference(data: DataModule, label: int | None) -> Batches:
    """Ordinary pictures of the model's run, which it was not trained on, of the label that is given."""
    for x, y in data.batches("val" if len(data.parts["val"]) else "test", BATCH):
        if label is None:
            yield x, None
        elif (same := y == label).any():
            yield x[same], y[same]


def _known(data: DataModule | None) -> set[bytes]:
    """The digests of the pictures that the model was trained on, as far as one knows them."""
    return {each for x, _ in data.batches("train", BATCH) for each in _digests(x)} if data else set()


def _digests(x: Tensor) -> list[bytes]:
    """A digest of each image's pixels, in 8 bits as they were read."""
    return [blake2b(each.tobytes()).digest() for each in x.mul(255).round().byte().cpu().numpy()]


def _folders(names: Sequence[str]) -> list[str]:
    return [PurePath(name).parent.name for name in names]


def _check_folders(abnormal: Sequence[str] | None, names: Sequence[str]) -> None:
    """Refuse names of no folder, and those of all."""
    if not abnormal:
        return
    folders = sorted(set(_folders(names)))
    if unknown := next((name for name in abnormal if name not in folders), None):
        raise UserError(
            f"--abnormal {unknown}: no picture is in a folder of this name; they are in {', '.join(folders)}"
        )
    if not set(folders) - set(abnormal):
        raise UserError(
            f"--abnormal {' '.join(abnormal)}: all pictures are abnormal then, and none shows the difference"
        )


def _draw(captions: Sequence[str], x: Tensor, x_hat: Tensor, options: argparse.Namespace) -> None:
    """Write the sheet, downwards and then to the right: a picture, its reconstruction, its heat map."""
    sides = torch.stack([x.expand(-1, 3, -1, -1), x_hat.expand(-1, 3, -1, -1), heat_map(x, x_hat)], 1)  # N 3 3 H W
    height = -(-len(sides) // options.columns)
    rows = list(zip(captions, sides, strict=True))
    columns = [captioned(rows[first : first + height]) for first in range(0, len(rows), height)]
    sheet = [F.pad(column, (0, 0, 0, columns[0].shape[-2] - column.shape[-2]), value=1.0) for column in columns]
    with whole(options.out) as temporary:
        save_png(torch.cat(sheet, -1), temporary)
    print(f"wrote {options.out}")
