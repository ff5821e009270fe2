"""Models on the Hugging Face Hub: two files of one commit are fetched, and never a pickle."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vae_zoo.errors import UserError, causes_of
from vae_zoo.exported import CARD, CONFIG, LARGEST_CONFIG, LARGEST_WEIGHTS, WEIGHTS
from vae_zoo.writing import user_cache

NAME = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")
COMMIT = re.compile("[0-9a-f]{40}")
SHARED = [CONFIG, WEIGHTS, CARD, "*.png", "*.onnx"]  # what is pushed of a folder


def download(name: str, revision: str | None) -> tuple[Path, str]:
    """Fetch a model's two files, unless they are here.

    Args:
        name: ``user/name``.
        revision: a branch, a tag or a commit; None is the newest commit.

    Returns:
        the folder, and the commit, which a branch or tag is resolved to once.

    Raises:
        UserError: if there is no such model, or it cannot be fetched.
        ModuleNotFoundError: if huggingface_hub is not installed.
    """
    cache = user_cache() / "hub" / name.replace("/", "--")
    if (
        revision
        and COMMIT.fullmatch(revision)
        and all((cache / revision / file).is_file() for file in (CONFIG, WEIGHTS))
    ):
        return cache / revision, revision
    api = _api()
    with _told(f"{name}@{revision}" if revision else name, "read"):
        info = api.model_info(name, revision=revision, files_metadata=True)
    commit, sizes = str(info.sha), {file.rfilename: file.size for file in info.siblings or ()}
    if not COMMIT.fullmatch(commit):
        raise UserError(f"{name}: the Hub names no commit, but {commit!r}")
    for file, largest in ((CONFIG, LARGEST_CONFIG), (WEIGHTS, LARGEST_WEIGHTS)):
        if file not in sizes:
            raise UserError(f"{name} on the Hub has no {file}, so it is no model that vae-zoo push wrote")
        if (sizes[file] or 0) > largest:
            raise UserError(f"{name}: its {file} has {sizes[file]} bytes, more than the {largest} that are read")
    with _told(name, "read"):
        for file in (CONFIG, WEIGHTS):
            api.hf_hub_download(name, file, revision=commit, local_dir=cache / commit)
    return cache / commit, commit


def push(folder: Path, name: str, private: bool = False) -> tuple[str, str]:
    """Make a new commit of an exported folder: its weights, config.json, card, pictures and ONNX files.

    Args:
        folder: that `vae_zoo.sharing.export` wrote.
        name: ``user/name``, made if there is no such model.
        private: whether a model that is made can be seen by its owner alone.

    Returns:
        the commit, and the model's address.

    Raises:
        UserError: if it cannot be written.
        ModuleNotFoundError: if huggingface_hub is not installed.
    """
    if not (match := NAME.fullmatch(name)) or match["revision"]:
        raise UserError(f"{name}: a model on the Hub is called user/name")
    api = _api()
    with _told(name, "written"):
        address = api.create_repo(name, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=name, folder_path=folder, allow_patterns=SHARED, commit_message="vae-zoo push", repo_type="model"
        )
    return str(done.oid), str(address)


def _api() -> Any:
    from huggingface_hub import HfApi  # an extra, vae_zoo[hub]

    return HfApi()


@contextmanager
def _told(name: str, done: str) -> Iterator[None]:
    """Turn what the Hub's client raises, which is of many classes and of several libraries, into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        causes = causes_of(error)
        codes = (getattr(getattr(each, "response", None), "status_code", None) for each in causes)
        match next((code for code in codes if code), None):
            case 404:
                why = f"there is no such model or revision on the Hub, nor a file or folder {name} here"
            case 401:
                why = "there is no such model on the Hub, or it is not yours to see; log in with `hf auth login`"
            case 403:
                why = "you have no right to do that; log in with `hf auth login`, with a token that may"
            case None if any(map(_is_of_network, causes)):
                why = "the Hub cannot be reached; is there a network?"
            case _:
                why = " ".join(str(error).split())[:300]
        raise UserError(f"{name} cannot be {done}: {why}") from error


def _is_of_network(cause: BaseException) -> bool:
    """Whether it tells that nothing answers; the client's versions have several libraries for HTTP."""
    library = type(cause).__module__.partition(".")[0]
    ours = library == "huggingface_hub" and isinstance(cause, OSError)
    return ours or isinstance(cause, ConnectionError | TimeoutError) or library in ("httpx", "httpx2", "requests")
