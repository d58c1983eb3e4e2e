"""A small run, trained once and exported, which the tests of sharing have in common."""

import shutil

import pytest
from tests.sharing import small_export

from advvid.sharing.export import export


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return small_export.videos(tmp_path_factory.mktemp("data") / "lights", seed=0)


@pytest.fixture(scope="session")
def run(data, tmp_path_factory):
    return small_export.trained(tmp_path_factory.mktemp("run"), data)


@pytest.fixture(scope="session")
def shared(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "mine"
    export(run, folder, licence="mit")
    return folder


@pytest.fixture(scope="session")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")  # cells that were computed once are used again


@pytest.fixture
def copy(shared, tmp_path):
    return shutil.copytree(shared, tmp_path / "copy")
