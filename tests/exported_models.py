"""Fixtures of an exported model, and of a cache: ``pytest_plugins = ["tests.exported_models"]``."""

import pytest

from tests.zoo import small
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
