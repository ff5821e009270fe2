"""A fixture of a run of each kind of model: ``pytest_plugins = ["tests.trained_runs"]``."""

import pytest

from tests.conftest import call, config_that, options_for
from tests.running import KINDS


@pytest.fixture(scope="session")
def runs(shapes, doodles, tmp_path_factory):
    """A folder with a run of each kind, called as above."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, declared in KINDS.items():
            config = config_that(**declared)
            words = options_for(config, data__root=shapes, data__path=doodles, trainer__max_epochs=1)
            assert call("fit", "--config", config, *words, "--run_dir", name) == 0
    return folder
