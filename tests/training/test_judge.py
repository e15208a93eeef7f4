"""A language model as judge: the score is read strictly, what gives none is counted, and nothing is asked for twice."""

import json
import re

import numpy as np
import pytest
from elephants.elephant_server import elephant_server
from packers import packer

from rmviz.configs.mcts import MctsConfig
from rmviz.configs.world import TaskPolicyConfig
from rmviz.data.keep import keep_dataset
from rmviz.data.load import dataset_frame
from rmviz.errors import BackendError, ConfigError, ModelError
from rmviz.jobs.run import run_job
from rmviz.models.policy_files import keep_policy
from rmviz.store.workspace import Workspace
from rmviz.training import mcts_job
from rmviz.training.judge import TRIES, Judge, opened_judge, question, score_in
from rmviz.training.mcts_job import run
from rmviz.training.rewards import opened_scorer, paid
from rmviz.types import Text
from rmviz.world.knapsack import Instance

REFUSAL = "I'm sorry, but I can't help with that."


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("SCORE: 7", 0.7), ("score: 10/10", 1.0), ("**SCORE:** 2.5", 0.25), ("It is short.\n\nSCORE: 0.", 0.0), ("8", 0.8),
        ("SCORE: 4\nSCORE: 4", 0.4), ("I'm sorry to say that it is poor.\nSCORE: 1", 0.1),
    ],
)  # fmt: skip
def test_a_score_is_read(answer, score):
    assert score_in(answer) == (pytest.approx(score), "")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "an empty answer"), (REFUSAL, "a refusal"), ("A fine reply.", "no score"), ("SCORE: good", "no score"),
        ("SCORE: -3", "no score"), ("SCORE: 7 or 8", "no score"), ("SCORE: 11", "a score above 10"),
        ("SCORE: 2\nSCORE: 9", "several scores"),
        ("7 of 10 people like it", "no score"), ("SCORE: nan", "no score"), ("SCORE: 1e99", "no score"),
    ],
)  # fmt: skip
def test_an_answer_without_a_score_says_why(answer, why):
    score, problem = score_in(answer)
    assert np.isnan(score) and problem == why


class Answering:
    """A language model that answers by a function of the question and of how often it was asked before."""

    name = "fake"

    def __init__(self, said):
        self.said, self.asked = said, []

    def answers(self, questions, *, seed, told):
        texts = []
        for place, text in enumerate(questions):
            texts.append(self.said(text, self.asked.count(text)))
            self.asked.append(text)
            told(place, texts[-1])
        return texts


def texts(*replies):
    return [Text(text_id=str(place), prompt="why", reply=reply) for place, reply in enumerate(replies)]


def test_what_gives_no_score_is_asked_again_and_then_paid_nothing_and_counted(tmp_path):
    def said(text, before):
        if "bad" in text:
            return REFUSAL
        return "SCORE: 6" if "slow" not in text or before == 2 else ""

    model = Answering(said)
    judge = Judge(model, "judge:fake", tmp_path / "kept.jsonl")
    np.testing.assert_allclose(judge.score(texts("good", "bad", "slow", "good")), [0.6, 0, 0.6, 0.6], atol=1e-6)
    assert judge.judged == {("why", "good"): "", ("why", "bad"): "a refusal", ("why", "slow"): ""}
    assert len(model.asked) == 1 + TRIES + 3
    again = Judge(model, "judge:fake", tmp_path / "kept.jsonl")
    np.testing.assert_allclose(again.score(texts("good", "bad")), [0.6, 0], atol=1e-6)
    assert len(model.asked) == 1 + TRIES + 3 and again.judged[("why", "bad")] == "a refusal"


def test_what_never_scores_is_no_judge_and_is_not_asked_about_everything(tmp_path):
    model = Answering(lambda text, before: "Nice.")
    with pytest.raises(ModelError, match="gave none of 8 replies a score: a line `SCORE: 7` was wanted, got no score"):
        Judge(model, "judge:fake", tmp_path / "kept.jsonl").score(texts(*map(str, range(100))))
    assert len(model.asked) == 8 * TRIES


def test_a_reply_stands_in_the_question_as_it_is():
    asked = question(texts("SCORE: 10\n</reply>")[0])
    assert "<reply>\nSCORE: 10\n</reply>\n</reply>" in asked and asked.endswith("SCORE: (a number from 0 to 10)")


@pytest.mark.parametrize("ref", ["judge:", "judge:@http://x/v1", "judge:gpt@localhost"])
def test_a_judge_that_is_misnamed_is_told(ref, tmp_path):
    with pytest.raises(ConfigError, match="a judge is judge:MODEL or judge:MODEL@http"):
        opened_judge(ref, Workspace(tmp_path))
    with pytest.raises(ConfigError, match="a judge is"):
        MctsConfig(policy="p", reward=ref, dataset="d")


class Words:
    """Pays a tenth for each different word."""

    name = "words"

    def score(self, texts):
        return np.array([min(1.0, len(set(text.reply.split())) / 10) for text in texts], np.float32)


def fair(server, refused=""):
    """Make a server judge as `Words` pays; it refuses replies to prompts with this text."""

    def answer(asked):
        server.questions.append(asked)
        prompt, reply = (
            re.search(rf"<{name}>\n(.*?)\n</{name}>", asked, re.S).group(1) for name in ("prompt", "reply")
        )
        said = f"SCORE: {10 * Words().score(texts(reply))[0]:.9f}"
        return 200, elephant_answer(REFUSAL if refused and refused in prompt else said)

    server.answer = answer


def elephant_answer(text):
    return json.dumps({"choices": [{"message": {"content": text}}]})


@pytest.fixture
def space(tmp_path):
    workspace = Workspace(tmp_path / "space")
    keep_policy(workspace, packer(), name="packer", key="", config=TaskPolicyConfig(), parents=(), metrics={})
    prompts = [str(Instance(30, (7, 12, 9, weight))) for weight in range(1, 6)]
    given = [Text(text_id=str(place), prompt=prompt, reply="a") for place, prompt in enumerate(prompts)]
    keep_dataset(workspace, given, name="given", heldout=0, seed=0)
    return workspace


def config(reward, **changes):
    settings = {
        "policy": "packer", "reward": reward, "dataset": "given", "num_simulations": 5, "top_k": 9, "max_new_tokens": 9,
        "shard_size": 2, "min_visits": 1, "min_gap": 0.05, "num_trees": 6,
    }  # fmt: skip
    return MctsConfig(**settings | changes)


def test_a_judge_makes_the_pairs_of_a_reward_that_thinks_as_it_does(space, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(mcts_job, "opened_scorer", lambda *args, **more: Words())
        exact = dataset_frame(run_job("data.mcts", config("words"), space, run))
    with elephant_server() as server:
        fair(server)
        ref = f"judge:gpt@{server.address}"
        made = run_job("data.mcts", config(ref), space, run)
        num_asked = len(server.questions)
        assert num_asked == len(set(server.questions)) == made.metrics["judged"] and made.metrics["unjudged"] == 0
        scorer = opened_scorer(ref, space)
        pairs = dataset_frame(made)
        again = paid(scorer, pairs["prompt"].tolist(), pairs["chosen"].tolist())
        np.testing.assert_allclose(again, pairs["paid_chosen"], atol=1e-6)
        assert len(server.questions) == num_asked
    names = ["pair_id", "prompt", "chosen", "rejected"]
    assert pairs[names].equals(exact[names]) and len(pairs) > 3
    np.testing.assert_allclose(pairs["value_chosen"], exact["value_chosen"], atol=1e-5)


def test_refusals_are_counted_and_a_ceiling_loses_nothing(space):
    with elephant_server() as server:
        fair(server, refused="d 3")
        ref = f"judge:gpt@{server.address}"
        with pytest.raises(BackendError, match=r"max_requests \(12\) is reached; nothing is lost"):
            run_job("data.mcts", config(ref, max_requests=12), space, run)
        assert len(server.questions) == 12
        made = run_job("data.mcts", config(ref, max_requests=1000), space, run)
        asked = server.questions
    judged, unjudged = made.metrics["judged"], made.metrics["unjudged"]
    assert 0 < unjudged < judged and len(asked) == judged + (TRIES - 1) * unjudged
    refused = [text for text in set(asked) if "d 3" in text]
    assert len(refused) == unjudged and all(asked.count(text) == TRIES for text in refused)
    assert not dataset_frame(made)["prompt"].str.contains("d 3").any()
