"""A fixture of the tests that damage a data set: ``pytest_plugins = ["tests.data_fixtures"]``."""

import shutil

import pytest


@pytest.fixture
def folder(shapes, tmp_path):
    """A copy of the generated data set that a test may damage."""
    return shutil.copytree(shapes, tmp_path / "shapes")
