"""What holds for all tests."""

import pytest
from hypothesis import settings

settings.register_profile("rmviz", deadline=None)  # a busy machine is no error
settings.load_profile("rmviz")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests measure what a person would wait for: nothing may run beside them."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker("alone")
