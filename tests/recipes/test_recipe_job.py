import inspect
import json
import re
import time
from dataclasses import replace

import pytest

from rmviz.configs.files import config_of
from rmviz.configs.recipes import RECIPES, RecipeConfig
from rmviz.configs.world import WorldDataConfig
from rmviz.errors import ConfigError
from rmviz.jobs.elapsed import ELAPSED, Stopwatch, elapsed
from rmviz.jobs.locks import locked
from rmviz.jobs.records import METRICS, Job, list_jobs, read_job
from rmviz.jobs.run import job_key
from rmviz.jobs.settings import QueueSettings
from rmviz.jobs.supervisor import Supervisor
from rmviz.recipes import job
from rmviz.store.experiments import Experiment, figure_of, keep_experiment, read_experiment
from rmviz.store.workspace import Workspace
from rmviz.worker import execute

CONFIG = RecipeConfig(name="knapsack", num_seeds=2, effort=0.5, seed=3)


@pytest.fixture
def space(tmp_path):
    return Workspace(tmp_path / "space")


@pytest.fixture
def calls(monkeypatch):
    """How often each step of a small recipe really ran, and at which step it is broken off."""
    seen = {"kinds": [], "stop": -1}

    def recipe(space, execute, report, num_seeds, seed, effort):
        made = []
        for number in range(num_seeds):
            report(number, num_seeds)
            if number == seen["stop"]:
                raise KeyboardInterrupt
            made.append(
                execute(
                    "world.data", WorldDataConfig(name=f"w{number}", num_pairs=int(80 * effort), seed=seed + number)
                )
            )
        figure = figure_of("pairs", "Pairs written.", [one.metrics["num_pairs"] for one in made])
        experiment = Experiment(
            title="Pairs", found=["Pairs were written."], figures=[figure], links=[one.id for one in made], seeds=num_seeds,
            seconds=elapsed(report, 0.0), command="rmviz recipe knapsack",
        )  # fmt: skip
        return keep_experiment(space, experiment, name="pairs", key=report.key, config={})

    real = execute

    def counted(kind, config, space, listener):
        seen["kinds"].append(config.name)
        return real(kind, config, space, listener)

    monkeypatch.setattr(job, "recipe_named", lambda name: recipe)
    monkeypatch.setattr(job, "execute", counted)
    return seen


def test_both_tables_name_the_same_recipes():
    assert list(RECIPES) == list(job.RUNS)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_what_a_seed_does_anew(name):
    assert re.search(r"\? (A seed does all anew|Seeds share .+ anew)\.$", RECIPES[name].sentence)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_function_with_the_agreed_arguments(name):
    names = list(inspect.signature(job.recipe_named(name)).parameters)
    assert names == ["space", "execute", "report", "num_seeds", "seed", *RECIPES[name].sizes]


def test_a_recipe_that_is_not_there_is_a_sentence(monkeypatch, space):
    monkeypatch.setitem(job.RUNS, "knapsack", "rmviz.recipes.nothing:run")
    with pytest.raises(ConfigError, match="knapsack is not part of this rmviz"):
        execute("recipe", CONFIG, space)
    with pytest.raises(ConfigError, match="name must be one of pink-elephants, iterated"):
        config_of("recipe", {"name": "cake"})
    with pytest.raises(ConfigError, match="knapsack has no num_attempts"):
        RecipeConfig(name="knapsack", num_attempts=5)
    with pytest.raises(ConfigError, match="map has no effort; leave it 1"):
        RecipeConfig(name="map", effort=0.5)
    with pytest.raises(ConfigError, match="effort must be from"):
        RecipeConfig(name="knapsack", effort=-1.0)


def test_steps_are_jobs_of_their_own_and_tell_the_recipes_progress(space, calls):
    found = execute("recipe", CONFIG, space)
    key = found.key
    assert read_job(space.job_folder(key)).state == "succeeded" and len(found.parents) == 2
    assert all(read_job(space.job_folder(space.resolve(one).key)).state == "succeeded" for one in found.parents)
    lines = [json.loads(line) for line in (space.job_folder(key) / METRICS).read_text().splitlines()]
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)
    assert lines[-1]["total"] == 200 and lines[-1]["step"] == 200
    assert read_experiment(found).figures[0].mean == 40


def test_a_recipe_and_its_step_take_one_place_of_the_queue(space, calls, monkeypatch):
    supervisor, rooms = Supervisor(space), {}
    real = job.execute

    def looked(kind, config, space, listener):
        def heard(*told):
            running = list_jobs(space)
            waiting = Job(key="next", kind=kind, state="queued", folder=space.root)
            for slots in (1, 2):
                supervisor.settings = QueueSettings(slots=slots)
                rooms.setdefault((len(running), slots), supervisor._free_slot(waiting, running))

        return real(kind, config, space, heard)

    monkeypatch.setattr(job, "execute", looked)
    execute("recipe", replace(CONFIG, num_seeds=1), space)
    assert rooms == {(2, 1): None, (2, 2): 0}


def test_an_interrupted_recipe_goes_on_where_it_was(space, calls, tmp_path):
    calls["stop"] = 1
    with pytest.raises(KeyboardInterrupt):
        execute("recipe", CONFIG, space)
    (first,) = space.list("dataset")
    cancelled = [one for one in (space.root / "jobs").glob("recipe-*") if read_job(one).state == "cancelled"]
    assert len(cancelled) == 1 and not space.list("experiment")
    calls["stop"] = -1
    found = execute("recipe", CONFIG, space)
    assert found.parents[0] == first.id and len(space.list("dataset")) == 2
    unbroken = execute("recipe", CONFIG, Workspace(tmp_path / "other"))
    assert [one.mean for one in read_experiment(found).figures] == [
        one.mean for one in read_experiment(unbroken).figures
    ]
    files = [
        [Workspace(one.folder.parents[1]).resolve(link).files for link in one.parents] for one in (found, unbroken)
    ]
    assert files[0] == files[1]


def test_seconds_are_those_of_all_tries(space, calls):
    calls["stop"] = 1
    with pytest.raises(KeyboardInterrupt):
        execute("recipe", CONFIG, space)
    file = space.job_folder(job_key("recipe", CONFIG)) / "checkpoints" / ELAPSED
    assert 0 < json.loads(file.read_text())["seconds"] < 60
    file.write_text('{"seconds": 1000}')
    calls["stop"] = -1
    assert 1000 < read_experiment(execute("recipe", CONFIG, space)).seconds < 1060


def test_a_damaged_count_of_seconds_begins_anew(tmp_path):
    for text in ("", "[]", '{"seconds": null}'):
        (tmp_path / ELAPSED).write_text(text)
        assert Stopwatch(tmp_path).seconds() < 60


def test_a_step_that_another_process_does_is_waited_for(space, calls, monkeypatch):
    monkeypatch.setattr(job, "_AGAIN", 0.017)
    other = locked(space.job_folder(job_key("world.data", WorldDataConfig(name="w0", num_pairs=40, seed=3))))
    assert other.__enter__()
    sleep = time.sleep

    def slept(seconds):
        if seconds == 0.017:
            other.__exit__(None, None, None)
        sleep(seconds)

    monkeypatch.setattr(job.time, "sleep", slept)
    assert len(execute("recipe", CONFIG, space).parents) == 2
    assert calls["kinds"] == ["w0", "w0", "w1"]


def test_ctrl_c_within_a_step_ends_the_step_and_the_recipe(space, calls, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setitem(__import__("rmviz.worker").worker.TASKS, "world.data", "rmviz.world.data:broken")
    monkeypatch.setattr("rmviz.world.data.broken", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt):
        execute("recipe", CONFIG, space)
    states = {one.name.rsplit("-", 1)[0]: read_job(one).state for one in (space.root / "jobs").iterdir()}
    assert states == {"recipe": "cancelled", "world.data": "cancelled"}
