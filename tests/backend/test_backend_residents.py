"""Which models stay in memory, and what happens when there is none left."""

import time
from pathlib import Path

import pytest
import torch
from backend.conftest import Place, causal_config, keep_model, keep_sae

from rmviz.backend import wire
from rmviz.backend.residents import OutOfMemoryError, Residents, default_budget
from rmviz.errors import ModelError
from rmviz.models.load import from_artifact
from rmviz.models.reward_model import RewardModel
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, list[Artifact]]:
    workspace = Workspace(tmp_path_factory.mktemp("three"))
    return workspace, [keep_model(workspace, f"m{i}", causal_config(), seed=i) for i in range(3)]


def ask(residents: Residents, model: str) -> wire.ScoreAnswer:
    request = wire.ScoreRequest(model=model, texts=[wire.TextIn(reply="hello")])
    return wire.ScoreAnswer.model_validate_json(residents.submit(request).result(60))


def names(residents: Residents) -> list[str]:
    return [model.name for model in residents.loaded()]


def test_the_longest_unused_model_leaves_when_the_budget_is_spent(three: tuple[Workspace, list[Artifact]]) -> None:
    workspace, models = three
    size = sum(p.numel() * 4 for p in from_artifact(models[0]).model.parameters())
    residents = Residents(workspace, budget_bytes=int(2.5 * size))
    rewards = [ask(residents, name).rewards for name in ("m0", "m1")]
    assert names(residents) == ["m1", "m0"]
    ask(residents, "m0")
    ask(residents, "m2")
    assert names(residents) == ["m2", "m0"] and residents.used_bytes <= residents.budget_bytes
    assert ask(residents, "m1").rewards == rewards[1], "loaded again, it answers the same"
    assert names(residents) == ["m1", "m2"]


def test_a_model_beyond_the_budget_stands_alone(three: tuple[Workspace, list[Artifact]]) -> None:
    residents = Residents(three[0], budget_bytes=1)
    for name in ("m0", "m1"):
        ask(residents, name)
        assert names(residents) == [name]


def test_an_sae_counts_and_goes_with_its_model(three: tuple[Workspace, list[Artifact]]) -> None:
    workspace, models = three
    sae = keep_sae(workspace, models[0], "sae", d_sae=4096)
    residents = Residents(workspace)
    ask(residents, "m0")
    before = residents.used_bytes
    request = wire.AblateRequest(model="m0", sae=sae.id, text=wire.TextIn(reply="hello"), scales={1: 0.0})
    residents.submit(request).result(60)
    assert residents.used_bytes == before + 2 * 4096 * 32 * 4
    assert residents.loaded()[0].saes == [sae.id]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), "alloc", "wrapped"])
def test_out_of_memory_drops_the_model_and_says_what_to_do(place: Place, error: object) -> None:
    failing = [True]
    alloc = RuntimeError(
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
    )

    def loaded(artifact: Artifact) -> RewardModel:
        rm = from_artifact(artifact)
        plain = rm.score_encoded

        def score(*args: object, **kwargs: object) -> object:
            if not failing[0]:
                return plain(*args, **kwargs)
            if error == "wrapped":
                raise ModelError("cannot be loaded") from alloc
            raise error if isinstance(error, BaseException) else alloc

        rm.score_encoded = score  # type: ignore[method-assign]
        return rm

    residents = Residents(place.workspace, load_model=loaded)
    with pytest.raises(OutOfMemoryError, match=r"memory ran out while causal .* lower max_length.*\(1 were loaded\)"):
        ask(residents, "causal")
    assert names(residents) == []
    failing[0] = False
    assert ask(residents, "causal").rewards[0] is not None


def test_loading_one_model_keeps_no_other_waiting(place: Place) -> None:
    def slow(artifact: Artifact) -> RewardModel:
        if artifact.name == "encoder":
            time.sleep(1.0)
        return from_artifact(artifact)

    residents = Residents(place.workspace, load_model=slow)
    ask(residents, "causal")
    request = wire.ScoreRequest(model="encoder", texts=[wire.TextIn(reply="hello")])
    waiting = residents.submit(request)
    start = time.monotonic()
    ask(residents, "causal")
    assert time.monotonic() - start < 0.9 and not waiting.done()
    waiting.result(60)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    model = keep_model(workspace, "m", causal_config())
    weights = model.folder / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(OSError, match="damaged"):
        ask(Residents(workspace), "m")


def test_the_default_budget_is_part_of_the_memory() -> None:
    assert 0 < default_budget() < 2**50
