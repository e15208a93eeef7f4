import shlex
from dataclasses import fields
from types import SimpleNamespace
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from rmviz import cli
from rmviz.configs.base import required
from rmviz.configs.command import COMMANDS, command_line, config_file_name
from rmviz.configs.kinds import KINDS
from rmviz.configs.sae import SAEConfig
from rmviz.configs.world import WorldDataConfig
from rmviz.errors import ConfigError

COMMAND = typer.main.get_command(cli.app)
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def read_back(words, monkeypatch):
    """Kind, config and options that the command line's own parser makes of the words."""
    found = {}

    def launch(kind, config, workspace, **options):
        found.update(kind=kind, config=config, root=workspace.root, **options)
        return SimpleNamespace(state="queued", key="k", artifact="")

    with monkeypatch.context() as patch:
        patch.setattr("rmviz.cli_flags.launch", launch)
        COMMAND.main(shlex.split(shlex.join(words))[1:], standalone_mode=False)
    return found


def values_of(hint):
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    return {
        str: WORDS,
        int: st.integers(-5, 2**40),
        float: st.floats(allow_nan=False),
        bool: st.booleans(),
    }[hint]


@st.composite
def configs(draw, kind):
    config, hints = KINDS[kind], get_type_hints(KINDS[kind])
    chosen = {
        f.name: draw(values_of(hints[f.name])) for f in fields(config) if required(f) or draw(st.integers(0, 3)) == 0
    }
    try:
        return config(**chosen)
    except ConfigError:
        return config(**{f.name: "x" for f in fields(config) if required(f)})


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_command_line_says_the_config_exactly(kind, monkeypatch, capsys, tmp_path):
    root = tmp_path / "my work; space"

    @settings(max_examples=25, deadline=None)
    @given(configs(kind), st.sampled_from(["", "local", "ray", "slurm"]), st.booleans())
    def check(config, runner, again):
        words = command_line(kind, config, root, queue=True, runner=runner, again=again)
        found = read_back(words, monkeypatch)
        assert found == {"kind": kind, "config": config, "root": root.resolve(), "runner": runner, "again": again}
        assert "--queue" not in command_line(kind, config, root)

    check()


def test_every_command_that_is_called_like_a_kind_is_known():
    leaves = {
        f"{name}.{verb}" if verb else name
        for name, command in COMMAND.commands.items()
        for verb in (getattr(command, "commands", None) or [""])
    }
    assert leaves & set(KINDS) <= set(COMMANDS) <= set(KINDS)


def test_only_what_differs_is_named(tmp_path):
    words = command_line("sae.train", SAEConfig(model="rm", dataset="d", seed=3), "w", queue=True)
    assert words == ["rmviz", "sae", "train", "rm", "d", "--seed", "3", "--queue", "--workspace", "w"]


def test_a_kind_without_a_command_is_launched_from_its_file():
    words = command_line("world.data", WorldDataConfig(), "w", queue=True, runner="ray", again=True)
    assert words == ["rmviz", "jobs", "launch", "world.data.json", "--runner", "ray", "--again", "--workspace", "w"]
    assert config_file_name("world.data") == "world.data.json"


def test_values_that_look_like_options_stay_values(monkeypatch, capsys):
    config = SAEConfig(model="--help", dataset="-d", name="-x")
    assert read_back(command_line("sae.train", config, "w", queue=True), monkeypatch)["config"] == config
