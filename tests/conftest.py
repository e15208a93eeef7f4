"""What holds for all tests."""

import re
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("rmviz", deadline=None)  # a busy machine is no error
settings.load_profile("rmviz")


BROWSER = Path(__file__).with_name("browser")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where tests that are alone are asked for, files that name no such test are not even imported."""
    if not re.match(r"alone( and not |$)", str(config.getoption("markexpr"))) or collection_path.suffix != ".py":
        return None
    names_one = "alone" in collection_path.read_text(encoding="utf-8") or BROWSER in collection_path.parents
    return None if names_one else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests measure what a person would wait for: the tests that compute may not run beside them."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker("alone")
