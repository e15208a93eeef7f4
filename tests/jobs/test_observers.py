"""Further listeners hear what the terminal hears."""

import sys
import types

import pytest

from rmviz.errors import ConfigError
from rmviz.jobs.observers import TENSORBOARD, observed
from rmviz.jobs.settings import QueueSettings


def test_without_settings_only_the_given_listener_hears(tmp_path):
    heard = []
    with observed(tmp_path, "effects", {}, QueueSettings(), lambda *told: heard.append(told)) as tell:
        tell("effects", 1, 2, 0.5, {"loss": 1.0})
    assert heard == [("effects", 1, 2, 0.5, {"loss": 1.0})]
    with observed(tmp_path, "effects", {}, QueueSettings(), None) as tell:
        assert tell is None


def test_wandb_gets_every_figure_at_its_step(tmp_path, monkeypatch):
    class Run:
        logged, finished = [], False

        def log(self, figures, step):
            self.logged.append((figures, step))

        def finish(self):
            self.finished = True

    run, asked = Run(), {}
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=lambda **given: asked.update(given) or run))
    settings = QueueSettings(wandb_project="rm")
    with observed(tmp_path / "key", "effects", {"name": "n"}, settings, None) as tell:
        tell("effects", 3, 4, 0.5, {"loss": 1.0})
    assert run.logged == [({"loss": 1.0, "rate": 0.5}, 3)] and run.finished
    assert (asked["project"], asked["id"], asked["resume"]) == ("rm", "key", "allow")


def test_a_recipe_and_its_steps_each_have_a_run_of_their_own(tmp_path, monkeypatch):
    class Run:
        def __init__(self, name):
            self.name, self.steps, self.finished = name, [], False

        def log(self, figures, step):
            assert not self.finished, "wandb raises here"
            self.steps.append(step)

        def finish(self):
            self.finished = True

    runs = []

    def init(*, id, reinit="default", **given):
        """As wandb 0.31 does: unless told otherwise it gives back the run that is open."""
        active = [run for run in runs if not run.finished]
        if active and reinit != "create_new":
            return active[-1]
        runs.append(Run(id))
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    settings = QueueSettings(wandb_project="rm")
    with observed(tmp_path / "recipe", "recipe", {}, settings, None) as recipe:
        for number in (1, 2):
            with observed(tmp_path / f"step{number}", "effects", {}, settings, None) as step:
                step("effects", 7, 9, 0.5, {"loss": 1.0})
            recipe("recipe", number, 2, 0.5, {})
    assert {run.name: run.steps for run in runs} == {"recipe": [1, 2], "step1": [7], "step2": [7]}
    assert all(run.finished for run in runs)


@pytest.mark.parametrize(
    "settings, module",
    [(QueueSettings(tensorboard=True), "torch.utils.tensorboard"), (QueueSettings(wandb_project="p"), "wandb")],
)
def test_a_missing_package_is_named_with_its_remedy(tmp_path, monkeypatch, settings, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match="pip install rmviz"), observed(tmp_path, "effects", {}, settings, None):
        pass


def test_tensorboard_events_hold_the_figures(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with observed(tmp_path, "effects", {}, QueueSettings(tensorboard=True), None) as tell:
        tell("effects", 7, 9, 0.5, {"loss": 0.25})
    events = EventAccumulator(str(tmp_path / TENSORBOARD))
    events.Reload()
    [scalar] = events.Scalars("effects/loss")
    assert (scalar.step, scalar.value) == (7, 0.25)
