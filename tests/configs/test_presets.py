from dataclasses import fields

import pytest

from rmviz.configs.base import required, to_dict
from rmviz.configs.kinds import KINDS
from rmviz.configs.presets import LABELS, PRESETS, preset_config, preset_of, with_preset
from rmviz.errors import ConfigError

EVERY = [(kind, preset) for kind, presets in PRESETS.items() for preset in presets]


def needed(kind):
    return {f.name: "x" for f in fields(KINDS[kind]) if required(f)}


@pytest.mark.parametrize(("kind", "preset"), EVERY)
def test_every_preset_makes_a_valid_config(kind, preset):
    config = preset_config(kind, preset, **needed(kind))
    assert PRESETS[kind][preset].items() <= to_dict(config).items()
    assert preset_of(kind, config) == preset


@pytest.mark.parametrize("kind", PRESETS)
def test_the_presets_of_a_kind_set_the_same_things_and_differ(kind):
    assert kind in KINDS and list(PRESETS[kind]) == list(LABELS)
    assert len({frozenset(changes) for changes in PRESETS[kind].values()}) == 1
    assert len({repr(changes) for changes in PRESETS[kind].values()}) == len(LABELS)


def test_a_preset_leaves_the_other_settings():
    values = with_preset("sae.train", "tiny", {"model": "m", "seed": 7, "d_sae": 999})
    assert values["model"] == "m" and values["seed"] == 7 and values["d_sae"] == 128


def test_a_preset_that_is_not_there_is_a_sentence():
    with pytest.raises(ConfigError, match=r"sae\.train has no preset 'huge'; it has tiny, laptop, gpu"):
        with_preset("sae.train", "huge", {})
