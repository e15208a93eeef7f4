"""The recipe pink-elephants: its figures by hand, and its arms as the jobs take them."""

from dataclasses import replace

import pytest

from rmviz.configs.kinds import KINDS
from rmviz.configs.world import Sizes
from rmviz.models.policy import Policy, Reply, Tokens
from rmviz.recipes import pink_elephants
from rmviz.recipes.pink_elephants import ARMS, Measured, cuts, figures, fluency_losses, found, rate
from rmviz.store.experiments import read_experiment
from rmviz.store.workspace import Workspace
from rmviz.training.watch import mean_log_prob
from rmviz.worker import execute
from rmviz.world.elephants import Elephants, heldout_terms, terms
from rmviz.world.policy import language_model


def measured(mention=0.6, fluency=-0.5, reply="Gala is nice."):
    prompt = "\n\nHuman: Do not mention Gala. Do you know Pippin?\n\nAssistant: Yes.\n\nHuman: And Gala?\n\nAssistant:"
    one = Reply(prompt=prompt, text=reply, tokens=Tokens((1, 2), 1), ended=True)
    return Measured(mention=mention, reward=1 - mention, grey=1 - mention, fluency=fluency, kl=0.1, replies=(one,))


def test_cuts_and_losses_by_hand():
    before = [measured(0.6, -0.5), measured(0.5, -0.4)]
    after = [measured(0.06, -0.525), measured(0.5, -0.4)]
    assert cuts(before, after) == pytest.approx([0.9, 0.0])
    assert fluency_losses(before, after) == pytest.approx([0.05, 0.0])
    assert cuts([measured(0.5)], [measured(0.75)]) == pytest.approx([-0.5]), "more mentions are a negative cut"


def test_what_is_found_is_said_whichever_way_it_falls():
    after = {name: [measured(0.9 if name == "ilql_sign" else 0.06, -0.6)] for name in ARMS}
    sentences = found([measured()], after)
    assert sentences[0].startswith("Before training 60%") and len(sentences) == 2 + len(ARMS)
    said = " ".join(sentences)
    assert "90%, 50% more" in said and "6%, 90% fewer" in said and "their nats per token rise by 20%" in said


def test_a_seed_that_named_nothing_before_has_no_cut_and_is_said():
    after = {name: [measured(0.06), measured(0.06)] for name in ARMS}
    said = found([measured(0.6), measured(0.0)], after)[1]
    assert "90% fewer (over the 1 of 2 seeds with mentions before)" in said and "nan" not in said
    said = found([measured(0.0)] * 2, after)[1]
    assert "where none named it before" in said and "nan" not in said


def test_every_figure_has_its_name_its_n_and_its_target():
    all_ = {one.name: one for one in figures([measured(), measured(0.4)], {name: [measured(0.1)] * 2 for name in ARMS})}
    assert all_["mention_before"].mean == pytest.approx(0.5) and all_["mention_before"].n == 2
    assert all_["mention_after_dpo"].mean == pytest.approx(0.1)
    assert all_["mention_cut_dpo"].target == all_["mention_cut_ilql_shaped"].target == "at least 0.8"
    assert all_["mention_cut_ilql_sign"].target == ""


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        ((0.5, 0.6), "the shaped reward alone teaches more"),
        ((0.05, 0.15), "the sign alone teaches more"),
        ((0.3, 0.1), "the interval holds 0"),
        ((0.5,), "in one seed, which says little"),
    ],
)
def test_what_the_reward_alone_does_is_told_whichever_way_it_falls(sign, words):
    shaped = (0.1, 0.2)[: len(sign)]
    after = {name: [measured(one) for one in (sign if name == "ilql_sign_alike" else shaped)] for name in ARMS}
    figure = next(one for one in figures([measured()] * len(sign), after) if one.name == "mention_by_reward")
    assert figure.mean == pytest.approx(sum(sign) / len(sign) - sum(shaped) / len(shaped)) and figure.n == len(sign)
    assert words in found([measured()] * len(sign), after)[-1]


def test_the_interval_of_one_seed_is_that_of_its_conversations():
    one = measured(0.5)
    replies = one.replies * 100
    figure = rate("x", "y", [replace(one, replies=replies)])
    assert (figure.n, figure.mean) == (100, 0.5)
    assert (figure.low, figure.high) == pytest.approx((0.404, 0.596), abs=1e-3)  # Wilson 1927, 50 of 100


@pytest.mark.parametrize("name", ARMS)
def test_arms_are_settings_of_jobs(name):
    arm = ARMS[name]
    KINDS[arm.kind](policy="lm", dataset="data", seed=1, name="x", **pink_elephants._RUN, **arm.settings)


def test_everybody_is_asked_about_held_out_pairs_alone():
    prompts = pink_elephants.asked(3)
    assert len(prompts) == pink_elephants.NUM_ASKED == len(pink_elephants.asked(4))
    assert all(heldout_terms(*terms(prompt)[1:]) for prompt in prompts) and prompts != pink_elephants.asked(4)


def test_fluency_is_the_mean_log_likelihood_of_what_was_written():
    task = Elephants()
    tokenizer = task.tokenizer()
    model = language_model(Sizes(d_model=8, num_blocks=1), len(tokenizer), task.max_length).eval()
    policy = Policy(model, tokenizer, format=task.format, max_length=task.max_length)
    rows = [policy.encode(prompt, " Gala is nice.") for prompt in pink_elephants.asked(0)[:3]]
    by_hand = []
    for row in rows:
        batch = policy.batch([row])
        logs = policy.logits(batch).log_softmax(2)[0].detach()
        by_hand += [float(logs[place - 1, row.ids[place]]) for place in range(row.start, len(row.ids))]
    assert mean_log_prob(policy, rows) == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-5)


def test_policies_that_learnt_nothing_cut_nothing(tmp_path, monkeypatch):
    """Each arm is given back the policy it starts from: nothing falls, nothing is lost, and it is all kept and read again."""
    monkeypatch.setattr(pink_elephants, "NUM_ASKED", 5)
    space, asked = Workspace(tmp_path), []

    def unchanged(kind, settings):
        asked.append(kind)
        if kind == "task.policy":
            return execute(kind, settings | {"num_steps": 2, "batch_size": 4, "d_model": 16, "num_blocks": 1}, space)
        if kind == "data.pink_elephants":
            return execute(kind, {"num_conversations": 30, "topics": "wines", "seed": settings["seed"]}, space)
        KINDS[kind](**settings)
        return space.resolve(settings["policy"])

    class Told:
        key, folder = "recipe-key", tmp_path / "checkpoints"

        def __call__(self, step, total, metrics=None):
            assert 0 <= step <= total == 2 + len(ARMS)

    kept = pink_elephants.run(space, unchanged, Told(), 1, 0)
    assert asked == ["task.policy", "data.pink_elephants", *(arm.kind for arm in ARMS.values())]
    told = read_experiment(kept).told()
    assert kept.kind == "experiment" and told["seeds"] == 1 and len(told["links"]) == 2
    rows = read_experiment(kept).tables["every run"]
    assert [row["arm"] for row in rows] == ["untrained", *ARMS] and {row["seed"] for row in rows} == {0}
    for name in ARMS:
        assert told[f"fluency_loss_{name}"]["mean"] == pytest.approx(0.0) and told[f"kl_{name}"][
            "mean"
        ] == pytest.approx(0.0)
        assert told[f"mention_after_{name}"]["mean"] == told["mention_before"]["mean"]


@pytest.mark.slow
def test_the_recipe_reaches_its_figures(tmp_path):
    """The figures wished for, at held-out pairs of terms: minutes on two quiet cores."""
    made = execute("recipe", {"name": "pink-elephants", "num_seeds": 1}, Workspace(tmp_path))
    told = read_experiment(made).told()
    for name in ("dpo", "ilql_shaped"):
        assert told[f"mention_cut_{name}"]["mean"] >= 0.8 and told[f"fluency_loss_{name}"]["mean"] < 0.1
