"""A fixture of a run of each kind of model: ``pytest_plugins = ["tests.trained_runs"]``."""

import shutil

import pytest

from tests.conftest import call, config_that, options_for
from tests.running import KINDS


@pytest.fixture(scope="session")
def trained_once(shapes, doodles, tmp_path_factory):
    """A folder with a run of each kind, called as above, which tests read through `runs`."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, declared in KINDS.items():
            config = config_that(**declared)
            words = options_for(config, data__root=shapes, data__path=doodles, trainer__max_epochs=1)
            assert call("fit", "--config", config, *words, "--run_dir", name) == 0
    return folder


@pytest.fixture
def runs(trained_once, tmp_path):
    """A copy of these runs for one test, which writes beside them as it likes."""
    return shutil.copytree(trained_once, tmp_path / "runs")
