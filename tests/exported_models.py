"""What tests of sharing have in common: an exported model (``pytest_plugins = ["tests.exported_models"]``), servers."""

import hashlib
import http.server
import json
import threading

import pytest
from safetensors.torch import save_file

from tests.zoo import small
from vae_zoo import exported
from vae_zoo.models import VAE
from vae_zoo.sharing import export


@pytest.fixture(scope="session")
def exported_vae(tmp_path_factory):
    """A model, and the folder that it was exported to, which no test changes."""
    folder = tmp_path_factory.mktemp("exported") / "vae"
    model = small(VAE).eval()
    export(model, folder)
    return model, folder


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """The user's cache, of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vae_zoo"


def serving(handler):
    """A server on this machine that is running."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def rewrite(folder, change=lambda config: None, weights=None):
    """Change what a folder says, as somebody would who makes the checksums fit."""
    if weights is not None:
        save_file(weights, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    change(config)
    config["checksum"] = exported._checksum(config)
    (folder / "config.json").write_text(json.dumps(config))
