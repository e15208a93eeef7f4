import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from rmviz.configs.models import RewardConfig
from rmviz.data.keep import keep_dataset
from rmviz.data.load import dataset_pairs, dataset_texts
from rmviz.errors import DataError, ModelError
from rmviz.jobs.run import run_job
from rmviz.models.load import from_artifact, load_base
from rmviz.store.workspace import Workspace
from rmviz.training.figures import pair_accuracy
from rmviz.training.pairs import PairCollator, encoded_sides, token_dataset
from rmviz.training.reward import run
from rmviz.types import Pair, Text

WORDS = ["the", "a", "dog", "cat", "runs", "sleeps", "good", "kind", "bad", "cruel", "what", "now", "<b>", "<e>", "<p>"]
SIZES = dict(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)


def tokenizer(*, encoder: bool) -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="the"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    if not encoder:
        return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="the", eos_token="<e>")
    marks = [("<b>", WORDS.index("<b>")), ("<e>", WORDS.index("<e>"))]
    words.post_processor = processors.TemplateProcessing(
        single="<b> $A <e>", pair="<b> $A <e> $B:1 <e>:1", special_tokens=marks
    )
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="the",
        cls_token="<b>",
        sep_token="<e>",
        pad_token="<p>",
        model_input_names=names,
    )


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A language model and an encoder, neither with a reward head."""
    folder = tmp_path_factory.mktemp("bases")
    torch.manual_seed(0)
    GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, max_position_embeddings=32)).save_pretrained(folder / "gpt_neox")
    tokenizer(encoder=False).save_pretrained(folder / "gpt_neox")
    BertModel(BertConfig(**SIZES, max_position_embeddings=32, pad_token_id=14)).save_pretrained(folder / "bert")
    tokenizer(encoder=True).save_pretrained(folder / "bert")
    return {name: folder / name for name in ("gpt_neox", "bert")}


def toy_pairs(number: int) -> list[Pair]:
    """Replies with a kind word beat replies with a cruel one."""
    rng = random.Random(0)

    def some(marks: list[str]) -> str:
        words = [*rng.choices(WORDS[:6], k=rng.randint(1, 6)), rng.choice(marks)]
        rng.shuffle(words)
        return " ".join(words)

    kind, cruel = ["good", "kind"], ["bad", "cruel"]
    return [
        Pair(pair_id=str(n), prompt=f"what now {some(['dog', 'cat'])}", chosen=some(kind), rejected=some(cruel))
        for n in range(number)
    ]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "ws")


def toy_dataset(workspace: Workspace, number: int = 120, heldout: float = 0.2):
    return keep_dataset(workspace, toy_pairs(number), name="toy", heldout=heldout, seed=0)


def toy_config(base: Path, **changes) -> RewardConfig:
    values = dict(dataset="toy", base=str(base), name="rm", batch_size=8, learning_rate=1e-2, num_epochs=2.0)
    return RewardConfig(**values | changes)


@pytest.mark.parametrize("family", ["gpt_neox", "bert"])
def test_the_collator_makes_the_batch_that_is_scored(bases, family):
    rm = load_base(bases[family], seed=0, device="cpu")
    pairs = toy_pairs(5)
    rows, num_same, _ = token_dataset(rm, pairs)
    batch = PairCollator(rm.pad_id)(list(rows))
    chosen, rejected = encoded_sides(rm, pairs)
    wanted = rm.collate([*chosen, *rejected])
    assert num_same == 0 and set(batch) == set(wanted)
    assert all(torch.equal(batch[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("family", ["gpt_neox", "bert"])
def test_training_learns_and_keeps_what_it_measured(workspace, bases, family):
    dataset = toy_dataset(workspace)
    told = []

    def listen(kind, step, total, rate, metrics):
        told.append((step, total, dict(metrics)))

    artifact = run_job("train.reward", toy_config(bases[family]), workspace, run, listen)
    metrics = artifact.metrics
    assert metrics["accuracy"] > 0.9 > metrics["accuracy_before"]
    assert (
        metrics["num_pairs"] == dataset.metrics["num_train"]
        and metrics["num_heldout"] == dataset.metrics["num_heldout"]
    )
    assert metrics["chance"] == 0.5 and 0.3 < metrics["length_baseline"] < 0.7
    steps, totals, figures = zip(*told, strict=True)
    assert list(steps) == sorted(steps) and steps[-1] == totals[-1] == metrics["steps"]
    losses = [figure["loss"] for figure in figures if "loss" in figure]
    assert losses[-1] < 0.3 < losses[0] and {"accuracy", "margin", "learning_rate"} <= set(figures[-1])
    assert figures[-1]["heldout_accuracy"] == metrics["accuracy"]

    rm = from_artifact(artifact, device="cpu")
    rewards = rm.score(dataset_texts(dataset, "heldout"))
    assert pair_accuracy(rewards[::2], rewards[1::2]) == metrics["accuracy"]
    assert rewards.mean() == pytest.approx(metrics["reward_mean"], abs=1e-5)
    middle = workspace.resolve(f"rm@step-{metrics['steps'] // 2}", "reward_model")
    assert middle.parents == artifact.parents == (dataset.id,)
    assert from_artifact(middle, device="cpu").fingerprint != rm.fingerprint
    assert not [path for path in artifact.files if path.endswith((".bin", ".pt", ".pth"))]


@pytest.mark.parametrize("family", ["gpt_neox", "bert"])
def test_an_interrupted_run_ends_as_an_unbroken_one(tmp_path, bases, family):
    texts = [Text(text_id="x", prompt="what now", reply="a good cat"), Text(text_id="y", prompt="", reply="bad dog")]
    rewards, steps = [], []
    for interrupted in (False, True):
        workspace = Workspace(tmp_path / str(interrupted))
        toy_dataset(workspace, 40)
        config = toy_config(bases[family])

        def stop_at_5(kind, step, total, *rest):
            if step == 5:
                raise KeyboardInterrupt

        if interrupted:
            with pytest.raises(KeyboardInterrupt):
                run_job("train.reward", config, workspace, run, stop_at_5)
            assert not [artifact for artifact in workspace.list("reward_model") if artifact.name == "rm"]
        told = []
        artifact = run_job("train.reward", config, workspace, run, lambda *values: told.append(values[1]))  # noqa: B023
        steps.append(min(step for step in told if step))
        rewards.append(from_artifact(artifact, device="cpu").score(texts))
        assert len(workspace.list("reward_model")) == 2
    assert steps[0] < 5 < steps[1]
    np.testing.assert_allclose(rewards[1], rewards[0], atol=1e-6)


def test_a_trained_model_is_trained_further(workspace, bases):
    toy_dataset(workspace, 40)
    first = run_job("train.reward", toy_config(bases["gpt_neox"], num_checkpoints=1, num_epochs=0.5), workspace, run)
    second = run_job(
        "train.reward", toy_config(Path("rm"), name="more", learning_rate=1e-9, num_epochs=0.1), workspace, run
    )
    assert second.metrics["accuracy_before"] == first.metrics["accuracy"]
    assert first.id in second.parents


def test_without_heldout_pairs_nothing_is_claimed(workspace, bases):
    toy_dataset(workspace, 20, heldout=0.0)
    metrics = run_job("train.reward", toy_config(bases["bert"], num_epochs=0.5), workspace, run).metrics
    assert metrics["accuracy"] is metrics["accuracy_before"] is metrics["length_baseline"] is None
    assert metrics["num_heldout"] == 0 and metrics["num_pairs"] == 20


def test_pairs_that_cutting_makes_equal_are_left_out(workspace, bases):
    pairs = toy_pairs(6)
    tail = " the dog runs" * 5
    same = [Pair(pair_id="s", prompt="q", chosen=f"good{tail}", rejected=f"bad{tail}")]
    keep_dataset(workspace, [*pairs, *same], name="toy", heldout=0.0, seed=0)
    artifact = run_job("train.reward", toy_config(bases["gpt_neox"], max_length=8), workspace, run)
    assert (artifact.metrics["num_pairs"], artifact.metrics["num_same"]) == (6, 1)
    more = Pair(pair_id="t", prompt="r", chosen=f"a{tail}", rejected=f"the{tail}")
    keep_dataset(workspace, [*same, more], name="cut", heldout=0.0, seed=0)
    with pytest.raises(DataError, match=r"0 training pairs, .* 2 are the same on both sides in"):
        run_job("train.reward", toy_config(bases["gpt_neox"], dataset="cut", max_length=8), workspace, run)


def test_data_that_cannot_train_is_refused(workspace, bases):
    keep_dataset(workspace, [Text(text_id="x", prompt="", reply="a dog")], name="texts", heldout=0.0, seed=0)
    keep_dataset(workspace, toy_pairs(1), name="one", heldout=0.0, seed=0)
    for name, reason in (("texts", "has texts alone"), ("one", "has 1 training pairs, and at least 2 are needed")):
        with pytest.raises(DataError, match=reason):
            run_job("train.reward", toy_config(bases["bert"], dataset=name), workspace, run)


def test_a_diverging_run_says_so_and_keeps_nothing(workspace, bases):
    toy_dataset(workspace, 40)
    with pytest.raises(ModelError, match="lower learning_rate"):
        run_job("train.reward", toy_config(bases["gpt_neox"], learning_rate=1e30), workspace, run)
    assert workspace.list("reward_model") == []


def test_a_damaged_checkpoint_is_not_resumed_from(workspace, bases):
    toy_dataset(workspace, 40)
    config = toy_config(bases["bert"])

    def stop_at_3(kind, step, total, *rest):
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job("train.reward", config, workspace, run, stop_at_3)
    (weights,) = workspace.root.glob("jobs/*/checkpoints/trainer/checkpoint-3/weights.safetensors")
    shutil.copyfile(Path(__file__), weights)
    told = []
    assert run_job("train.reward", config, workspace, run, lambda *values: told.append(values[1])).metrics["accuracy"]
    assert 1 in told
    assert len(dataset_pairs(workspace.resolve("toy", "dataset"))) == 40
