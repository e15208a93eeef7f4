"""The recipe pink-elephants: its figures by hand, and its arms as the jobs take them."""

import pytest

from rmviz.configs.kinds import KINDS
from rmviz.models.policy import Policy, Reply, Tokens
from rmviz.recipes import pink_elephants
from rmviz.recipes.pink_elephants import ARMS, Measured, cuts, figures, fluency_losses, found
from rmviz.training.watch import mean_log_prob
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
    assert sentences[0].startswith("Before training 60%") and len(sentences) == 1 + len(ARMS)
    said = " ".join(sentences)
    assert "90%, 50% more" in said and "6%, 90% fewer" in said and "20% less likely" in said


def test_every_figure_has_its_name_its_n_and_its_target():
    all_ = {one.name: one for one in figures([measured(), measured(0.4)], {name: [measured(0.1)] * 2 for name in ARMS})}
    assert all_["mention_before"].mean == pytest.approx(0.5) and all_["mention_before"].n == 2
    assert all_["mention_after_dpo"].mean == pytest.approx(0.1)
    assert all_["mention_cut_dpo"].target == all_["mention_cut_ilql_shaped"].target == "at least 0.8"
    assert all_["mention_cut_ilql_sign"].target == ""


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
    from rmviz.configs.world import Sizes

    model = language_model(Sizes(d_model=8, num_blocks=1), len(tokenizer), task.max_length).eval()
    policy = Policy(model, tokenizer, format=task.format, max_length=task.max_length)
    rows = [policy.encode(prompt, " Gala is nice.") for prompt in pink_elephants.asked(0)[:3]]
    by_hand = []
    for row in rows:
        batch = policy.batch([row])
        logs = policy.logits(batch).log_softmax(2)[0]
        by_hand += [float(logs[place - 1, row.ids[place]]) for place in range(row.start, len(row.ids))]
    assert mean_log_prob(policy, rows) == pytest.approx(sum(by_hand) / len(by_hand), rel=1e-5)
