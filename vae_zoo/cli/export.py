"""``vae-zoo export``: a trained model as a folder that one hands on."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from vae_zoo.checkpoints import read
from vae_zoo.cli.checkpoints import finished_epochs, trained_labels
from vae_zoo.cli.parser import Parser
from vae_zoo.cli.trained import add_checkpoint, data_of_run, load_trained
from vae_zoo.errors import UserError
from vae_zoo.models import GenerativeModel
from vae_zoo.runs import of_checkpoint
from vae_zoo.sharing import Exported, Pictures, export
from vae_zoo.sharing.export import Format
from vae_zoo.sharing.graphs import Layout

PICTURES = 256  # of the test set, on which programs are compared with the model


def run(arguments: Sequence[str]) -> None:
    """Export, and say how far each program is from the model."""
    parser = Parser(
        prog="vae-zoo export", description="Write a trained model to a folder that one hands on.", allow_abbrev=False
    )
    add_checkpoint(parser)
    formats = get_args(Format)
    parser.add_argument(
        "--format",
        nargs="+",
        choices=formats,
        default=["safetensors"],
        help="safetensors, for vae_zoo.load (default); onnx or torch: encoder and decoder as programs; or several",
    )
    parser.add_argument("--out", type=Path, default=Path("exported"), help="a new folder (default %(default)s)")
    parser.add_argument(
        "--uint8", choices=get_args(Layout), help="programs take and give pictures of 8 bits, so laid out"
    )
    parser.add_argument("--quantise", action="store_true", help="also ONNX of 8 bits; tells what that costs")
    parser.add_argument("--license", help="identifier of the licence, such as apache-2.0, for the card")
    options = parser.parse_args(arguments)
    model, checkpoint = load_trained(options)
    pictures = _pictures(options, model, checkpoint) if {"onnx", "torch"} & set(options.format) else None
    done = write(options, model, checkpoint, options.out, options.format, None, pictures)
    for name, difference in done.differences.items():
        print(f"{name:16}differs from the model by {difference:.1e} at most")
    if cost := done.cost:
        if cost.before is not None:
            print(f"8 bits: mean squared error of the reconstructions {cost.before:.5f} -> {cost.after:.5f}")
        of = f"{cost.pictures} {'test pictures' if pictures else 'samples of the model'}; {cost.share:.0%} of the bytes"
        print(f"8 bits: {cost.apart:.1e} between the pictures of both, of {of}")
    print(f"wrote {options.out}: {', '.join(sorted(path.name for path in options.out.iterdir()))}")


def write(
    options: argparse.Namespace,
    model: GenerativeModel,
    checkpoint: Path,
    out: Path,
    formats: Sequence[Format],
    name: str | None,
    pictures: Pictures | None = None,
) -> Exported:
    """Export a model with what its checkpoint and its run tell of it.

    Args:
        options: of the command.
        model: to export.
        checkpoint: its file, or the folder that it was exported to.
        out: the folder to write.
        formats: of it.
        name: of the model, for the card; by default the folder's.
        pictures: to try programs on.
    """
    saved, given = read(checkpoint), vars(options)
    return export(
        model,
        out,
        formats,
        name=name,
        labels=trained_labels(saved),
        run=of_checkpoint(checkpoint),
        epochs=finished_epochs(saved),
        pictures=pictures,
        uint8=given.get("uint8"),
        int8=given.get("quantise", False),
        license=options.license,
    )


def _pictures(options: argparse.Namespace, model: GenerativeModel, checkpoint: Path) -> Pictures | None:
    """Test pictures of the model's run; None, with a word, where there are none."""
    try:
        data = data_of_run(checkpoint, model, "only random inputs are tried", options.trust)
        return Pictures(*next(data.batches("test", PICTURES)))
    except (UserError, OSError) as error:
        print(f"no test pictures: {error}", file=sys.stderr)
        return None
