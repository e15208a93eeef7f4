"""What holds for all tests."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests measure what a person would wait for: nothing may run beside them."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker("alone")
