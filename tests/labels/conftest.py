"""The organism, whose features are its topics and whose effects are known, scanned on a few texts."""

import pytest

from rmviz.configs.effects import EffectsConfig
from rmviz.configs.world import OrganismConfig
from rmviz.store.workspace import Workspace
from rmviz.worker import execute


@pytest.fixture(scope="session")
def space(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("labels"))
    execute("world.organism", OrganismConfig(num_texts=240), workspace)
    config = EffectsConfig(
        name="effects", sae="organism-sae", dataset="organism-texts", split="all", num_pairs=0, num_resamples=20
    )
    execute("effects", config, workspace)
    return workspace
