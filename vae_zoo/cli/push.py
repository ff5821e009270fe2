"""``vae-zoo push``: a trained model to the Hugging Face Hub."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from vae_zoo.cli.export import write
from vae_zoo.cli.parser import Parser
from vae_zoo.cli.trained import add_checkpoint, load_trained
from vae_zoo.errors import UserError
from vae_zoo.sharing import push


def run(arguments: Sequence[str]) -> None:
    """Export, push, and say how to load what was pushed."""
    parser = Parser(
        prog="vae-zoo push",
        description="Push a trained model to the Hugging Face Hub, where you are logged in with `hf auth login`.",
        allow_abbrev=False,
    )
    parser.add_argument("name", help="user/name; it is made if it is not there, else it gets a new commit")
    add_checkpoint(parser)
    parser.add_argument("--private", action="store_true", help="if it is made: for its owner alone")
    parser.add_argument("--license", help="identifier of the licence, such as apache-2.0, for the card")
    options = parser.parse_args(arguments)
    model, checkpoint = load_trained(options)
    with tempfile.TemporaryDirectory() as temporary:
        folder = checkpoint
        if not checkpoint.is_dir():
            folder = Path(temporary) / "exported"
            write(options, model, checkpoint, folder, ["safetensors"], options.name)
        elif options.license:
            raise UserError(f"--license {options.license}: the card of {checkpoint} is pushed as it is; say it there")
        commit, address = push(folder, options.name, options.private)
    print(f"pushed to {address}")
    print(f'load it with vae_zoo.load("{options.name}@{commit}")')
