"""Models are made once per run."""

from collections.abc import Callable

import pytest
from ablation.families import random_texts, tiny_model

from rmviz.models.encoding import Encoded
from rmviz.models.reward_model import RewardModel


@pytest.fixture(scope="session")
def family() -> Callable[[str], RewardModel]:
    made: dict[str, RewardModel] = {}

    def get(name: str) -> RewardModel:
        if name not in made:
            made[name] = tiny_model(name)
        return made[name]

    return get


@pytest.fixture
def texts() -> list[Encoded]:
    return random_texts(9)
