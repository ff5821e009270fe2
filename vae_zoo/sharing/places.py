"""Where a model is: a file or folder here, a folder on a web server, or the Hugging Face Hub."""

import hashlib
import tempfile
import urllib.parse
from pathlib import Path

from vae_zoo.errors import UserError
from vae_zoo.exported import CONFIG, LARGEST_CONFIG, LARGEST_WEIGHTS, WEIGHTS, read_config
from vae_zoo.fetch import fetch
from vae_zoo.reading import read_file
from vae_zoo.sharing import hub
from vae_zoo.writing import user_cache, whole

FILES = (".ckpt", ".safetensors", ".json", ".onnx", ".pt", ".pt2")  # endings of what is no model on the Hub


def find(given: str | Path, revision: str | None = None) -> tuple[Path, str | None]:
    """Return the checkpoint file or exported folder on this machine, and what it is called where it came from.

    What is here wins over a name on the Hub. What comes from elsewhere is kept in the user's cache.

    Args:
        given: a path; ``https://...``, the address of an exported folder; or ``user/name`` or ``user/name@revision``.
        revision: of a model on the Hub: a branch, a tag or a commit.

    Returns:
        the path, which need not be there; and, of what came from elsewhere, its address, or ``user/name@commit``.

    Raises:
        UserError: if it cannot be fetched.
    """
    name = hub.NAME.fullmatch(str(given))
    on_hub = isinstance(given, str) and name and not given.endswith(FILES) and not Path(given).exists()
    if name and on_hub:
        if revision and name["revision"]:
            raise UserError(f"{given} names a revision, and revision={revision!r} is another way to say it; give one")
        folder, commit = hub.download(name["name"], revision or name["revision"])
        return folder, f"{name['name']}@{commit}"
    if revision:
        raise UserError(f"revision={revision!r} is for a model on the Hub, user/name, which {given} is not")
    if isinstance(given, str) and "://" in given and not Path(given).exists():
        return _fetched(given), given
    return Path(given), None


def _fetched(address: str) -> Path:
    """Fetch an exported folder from a web server; its weights are kept under the hash of its config.json."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https":
        raise UserError(f"{address}: a model is fetched by https:// alone, which protects it on its way")
    if not parts.netloc or parts.query or parts.fragment:
        raise UserError(f"{address}: give the address of a folder that has {CONFIG} and {WEIGHTS} in it")
    address = address.rstrip("/")
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / CONFIG
        config = fetch(f"{address}/{CONFIG}", file, LARGEST_CONFIG, read_config)
        content = file.read_bytes()
    folder = user_cache() / "web" / hashlib.sha256(content).hexdigest()
    with whole(folder / CONFIG) as part:
        part.write_bytes(content)

    def check(path: Path) -> None:
        if hashlib.sha256(read_file(path, LARGEST_WEIGHTS)).hexdigest() != config["sha256"]:
            raise ValueError(f"it is not what {CONFIG} says")

    fetch(f"{address}/{WEIGHTS}", folder / WEIGHTS, LARGEST_WEIGHTS, check)
    return folder
