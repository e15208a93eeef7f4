"""The documents name everything that there is, and nothing that there is not."""

import re
from pathlib import Path

import pytest
import typer

from rmviz import cli
from rmviz.configs.kinds import KINDS

REPO = Path(__file__).resolve().parents[1]
README = (REPO / "README.md").read_text()


def commands() -> list[str]:
    """Every verb of the command line, as typed."""
    root = typer.main.get_command(cli.app)
    return [
        f"rmviz {name} {verb}".strip()
        for name, command in root.commands.items()
        for verb, inner in (getattr(command, "commands", None) or {"": command}).items()
        if not inner.hidden
    ]


@pytest.mark.parametrize("command", commands())
def test_every_command_is_in_the_readme(command):
    assert command in README


@pytest.mark.parametrize("page", sorted(path.stem for path in (REPO / "pages").glob("*.py")))
def test_every_page_is_in_the_readme(page):
    assert f"**{page.capitalize()}**" in README


@pytest.mark.parametrize("kind", KINDS)
def test_every_job_kind_is_in_the_readme(kind):
    assert f"`{kind}`" in README


def test_every_link_to_a_file_leads_somewhere():
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", README):
        assert (REPO / target).exists(), target


def test_make_targets_of_the_readme_exist():
    makefile = (REPO / "Makefile").read_text()
    for target in set(re.findall(r"\bmake ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.M), target
