"""Tests that need Ray are marked so, and skipped where it is missing; one cluster serves a file of tests."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from on_ray.cluster import Cluster, at, settle

from rmviz.store.workspace import Workspace

INSTALLED = find_spec("ray") is not None


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.ray)
            if not INSTALLED:
                item.add_marker(pytest.mark.skip(reason="ray is not installed: make test-ray"))


@pytest.fixture(scope="module")
def cluster():
    made = Cluster()
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def workspace(tmp_path, cluster):
    space = at(Workspace(tmp_path / "space"), cluster.address)
    yield space
    settle(space)
