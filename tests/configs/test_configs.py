from dataclasses import fields

import pytest

from rmviz.configs.base import field_docs, from_dict, parents, required, to_dict
from rmviz.configs.effects import EffectsConfig
from rmviz.configs.kinds import KINDS
from rmviz.errors import ConfigError
from rmviz.worker import TASKS


def test_every_kind_has_one_task():
    assert KINDS.keys() == TASKS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_says_what_it_means(kind):
    assert field_docs(KINDS[kind]).keys() == {f.name for f in fields(KINDS[kind])}


@pytest.mark.parametrize("kind", KINDS)
def test_dictionary_and_back_is_the_same(kind):
    config = KINDS[kind](**{f.name: "x" for f in fields(KINDS[kind]) if required(f)})
    assert from_dict(KINDS[kind], to_dict(config)) == config


def test_parents_name_kinds():
    assert parents(EffectsConfig) == {"sae": ("sae",), "dataset": ("dataset",)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sae": "s"}, "needs dataset"),
        ({"sae": "s", "dataset": "d", "colour": 1}, "unknown setting colour"),
        ({"sae": "s", "dataset": "d", "num_pairs": -1}, "num_pairs must be at least 0"),
        ({"sae": "s", "dataset": "d", "num_pairs": "many"}, "num_pairs must be int"),
        ({"sae": "s", "dataset": "d", "num_pairs": True}, "num_pairs must be int"),
        ({"sae": "s", "dataset": "d", "split": "half"}, "split must be one of"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(EffectsConfig, values)
