"""``vae-zoo encode``: the codes of any pictures, to an ``.npz`` or a Parquet file."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

import numpy as np
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from torch import Tensor

from vae_zoo.cli.parser import Parser
from vae_zoo.cli.pictures import encoder, label_of, repeated, require_label
from vae_zoo.cli.trained import add_checkpoint, load_trained
from vae_zoo.data.pictures import picture_batches
from vae_zoo.errors import amount, require
from vae_zoo.latent import encode
from vae_zoo.latent.codes import require_ending
from vae_zoo.marks import refuse_foreign


def run(arguments: Sequence[str]) -> None:
    """Encode, and write the file."""
    parser = Parser(prog="vae-zoo encode", description="Encode pictures.", allow_abbrev=False)
    parser.add_argument("paths", type=Path, nargs="+", help="picture files, folders or zips")
    add_checkpoint(parser)
    parser.add_argument("--out", type=Path, default=Path("codes.npz"), help=".npz or .parquet (default %(default)s)")
    parser.add_argument("--errors", action="store_true", help="also the mean squared errors of the reconstructions")
    parser.add_argument("--label", help="the pictures' label, its name or number, for a model that takes labels")
    parser.add_argument("--batch_size", type=int, default=256, help="pictures at a time (default %(default)s)")
    options = parser.parse_args(arguments)
    require(1, batch_size=options.batch_size)
    require_ending(options.out)
    refuse_foreign(options.out)
    model, checkpoint = load_trained(options)
    autoencoder, label = encoder(model, "encode"), label_of(options, model, checkpoint)
    require_label(model, label)
    names: list[str] = []
    with Progress(TextColumn("{task.completed} pictures"), TimeElapsedColumn(), transient=True) as progress:
        task = progress.add_task("", total=None)

        def batches() -> Iterator[tuple[Tensor, Tensor | None]]:
            for x, more in picture_batches(options.paths, model.hparams["shape"], options.batch_size):
                yield x, repeated(label, len(x))
                names.extend(more)
                progress.update(task, completed=len(names))

        codes = encode(autoencoder, batches(), errors=options.errors)
    folders = [PurePath(name).parent.name for name in names]
    replace(codes, name=np.array(names), label=np.array(folders)).write(options.out)
    print(f"wrote {options.out}: {amount(len(codes), 'code')} of {' x '.join(map(str, codes.z.shape[1:]))} numbers")
    if codes.mse is not None:
        print(f"mean squared error {codes.mse.mean():.5f}, from {codes.mse.min():.5f} to {codes.mse.max():.5f}")
