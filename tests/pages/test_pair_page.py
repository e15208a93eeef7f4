"""The page Pair and the page Margins, on a synthetic workspace: what they show is what the backend and the job say."""

import re
import shutil

import numpy as np
import pytest
from pages.margined import keep

from rmviz.backend.wire_pair import PairIn, PairRequest, ShapleyRequest
from rmviz.data.load import dataset_pairs
from rmviz.errors import DataError
from rmviz.store.workspace import Workspace
from rmviz.ui import apart


@pytest.fixture
def probed(planted, tmp_path):
    """A workspace of its own with the synthetic artifacts and a probe of margins."""

    def made(**options):
        for artifact in planted.values():
            target = tmp_path / "w" / artifact.kind / artifact.id
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(artifact.folder)
        return keep(Workspace(tmp_path / "w"), planted, **options)

    return made


def asked(fake, planted, pair, kind=PairRequest, **options):
    texts = PairIn(prompt=pair.prompt, chosen=pair.chosen, rejected=pair.rejected)
    path = "/pair" if kind is PairRequest else "/shapley"
    return fake._ask(path, kind(model=planted["reward_model"].id, sae=planted["sae"].id, pair=texts, **options))


def test_a_pair_of_the_data_is_taken_apart_as_the_backend_says(open_page, text_of, planted, fake):
    pair = dataset_pairs(planted["dataset"])[5]
    wanted = asked(fake, planted, pair)
    test = open_page("pair", dataset=planted["dataset"].id, pair=pair.pair_id)
    table = test.dataframe[0].value
    margin = wanted.chosen.reward - wanted.rejected.reward
    assert table["margin"].sum() == pytest.approx(margin, abs=1e-4)
    assert table["chosen"].sum() == pytest.approx(wanted.chosen.reward, abs=1e-4)
    assert table["feature"].tolist() == [*wanted.features, -1, -1, -1]
    effects = np.array(wanted.chosen_effects) - np.array(wanted.rejected_effects)
    np.testing.assert_allclose(table["margin"][: len(effects)], effects)
    words = text_of(test)
    assert pair.pair_id in words and "<ins>" in words and "<b>rejected</b>" in words
    assert "assigned to none of them" in words and "12.5 %" in words
    assert test.query_params["pair"] == pair.pair_id


def test_the_bars_sum_to_the_margin_and_a_turned_pair_has_the_opposite_ones(fake, planted):
    pair = dataset_pairs(planted["dataset"])[5]
    turned = type(pair)(pair_id="t", prompt=pair.prompt, chosen=pair.rejected, rejected=pair.chosen)
    tables = [apart.part_table(asked(fake, planted, one), {}) for one in (pair, turned)]
    for top in (5, 100):
        one, other = (apart.bars(table, top).set_index("part")["value"] for table in tables)
        assert one.sum() == pytest.approx(tables[0]["margin"].sum()) and set(one.index) == set(other.index)
        np.testing.assert_allclose(one, -other[one.index], atol=1e-12)
    shares = apart.shapley_bars(asked(fake, planted, pair, ShapleyRequest, num_features=5), tables[0])
    assert shares["value"].sum() == pytest.approx(tables[0]["margin"].sum())


def test_parts_that_sum_to_dust_are_a_tie(open_page, text_of, fake, monkeypatch):
    plain = type(fake).pair

    def tied(self, *args, **options):
        answer = plain(self, *args, **options)
        sides = [answer.chosen.model_copy(update={"error": e, "reward": 0.3}) for e in (0.1 + 0.2, 0.3)]
        update = {"features": [], "chosen_effects": [], "rejected_effects": []}
        return answer.model_copy(update={**update, "chosen": sides[0], "rejected": sides[1]})

    monkeypatch.setattr(type(fake), "pair", tied)
    words = text_of(open_page("pair", pair="pair-0005"))
    assert "a tie" in words and "the model prefers" not in words


def test_shapley_values_stand_beside_the_effects(open_page, text_of, planted, fake):
    pair = dataset_pairs(planted["dataset"])[5]
    fake.requests.clear()
    test = open_page("pair", pair=pair.pair_id, shapley="64", top="5")
    assert fake.requests.count("/shapley") == 4  # 8, 16, 32 and 64 permutations
    table, wanted = test.dataframe[0].value, asked(fake, planted, pair, ShapleyRequest, num_features=5)
    assert table["shapley"].notna().sum() == 6
    np.testing.assert_allclose(table["shapley"][:5], wanted.value[:5])
    assert table.set_index("part").loc["SAE error", "shapley"] == pytest.approx(wanted.value[-1])
    assert "n = 64 permutations" in text_of(test)


def test_the_playgrounds_pair_is_taken_apart(open_page, text_of, fake):
    test = open_page("pair", **{"from": "typed", "prompt": "Human: a", "a": " the sea", "b": " the sea"})
    assert any("Both texts are the same" in info.value for info in test.info)
    test = open_page("pair", **{"from": "typed"})
    assert any("Type two replies in the Playground" in info.value for info in test.info)
    test = open_page("pair", **{"from": "typed", "a": " the sea", "b": " the old roofs" + " word" * 300})
    assert any("of the rejected text were cut" in warning.value for warning in test.warning)


def typed(test):
    return [test.session_state[key] for key in ("pg-prompt", "pg-a", "pg-b")]


def test_the_address_of_a_typed_pair_restores_it(open_page, text_of, planted, tmp_path):
    root = tmp_path / "own"
    shutil.copytree(planted["sae"].folder.parents[1], root)
    for length, params in ((1, {"a", "b"}), (2000, {"texts"})):
        pair = {"a": " the s" + "e" * length, "b": " the old roofs"}
        test = open_page("pair", root=root, **{"from": "typed", **pair})
        source = next(one for one in test.segmented_control if one.label == "Which pair")
        source.set_value("data").run()
        assert "pair" in test.query_params
        next(one for one in test.segmented_control if one.label == "Which pair").set_value("typed").run()
        assert typed(test) == ["", *pair.values()]
        kept = {name: "".join(value) for name, value in test.query_params.items()}
        assert set(kept) == {"from", "model", "sae", *params}
        again = open_page("pair", root=root, **kept)
        assert typed(again) == typed(test) and "Reply A against reply B" in text_of(again)


def test_a_pair_that_is_not_there_and_one_without_rewards_are_sentences(open_page, fake):
    test = open_page("pair", pair="<b>nobody")
    assert any("has no pair" in warning.value for warning in test.warning)
    test.button(key="next-pair").click().run()
    assert test.dataframe and not test.warning[0].value.startswith("This dataset")
    fake.broken = DataError("pair 'live' has a reward that is no finite number; choose another pair")
    test = open_page("pair", pair="pair-0007")
    assert test.error[0].value.startswith("Pair 'live' has a reward that is no finite number")


@pytest.mark.parametrize(
    ("page", "params"), [("data", {"pair": "pair-0003"}), ("playground", {"mode": "pair", "a": "x", "b": "y"})]
)
def test_pairs_elsewhere_lead_here(open_page, page, params):
    links = [link.proto.label for link in open_page(page, **params).get("page_link")]
    assert "Take apart" in links


def test_margins_show_groups_their_pairs_and_the_share(open_page, text_of, probed, planted):
    probe = probed()
    root = probe.folder.parents[1]
    test = open_page("margins", root=root, probe=probe.id)
    groups = test.dataframe[0].value
    assert groups["feature"].tolist() == [3, -1] and groups["num_righted"].tolist() == [10, 0]
    words = text_of(test)
    assert "10 pairs that feature 3 makes wrong" in words and words.count("<b>rejected</b>") == 10
    assert len(re.findall(r"with the feature off \\?\+0\.6", words)) == 10
    labels = [link.proto.label for link in test.get("page_link")]
    assert labels.count("Take apart") == 10 and "Open feature 3" in labels
    assert "that no single feature rights" in text_of(open_page("margins", root=root, probe=probe.id, feature="-1"))
    test = open_page("margins", root=root, probe=probe.id, view="explained")
    assert test.dataframe[0].value["k"].tolist() == [1, 2] and "95 % bootstrap interval" in text_of(test)
    test = open_page("margins", root=root, feature="17")
    assert any("No wrong pair belongs" in warning.value for warning in test.warning)


def test_a_probe_of_margins_leads_to_its_page_and_is_no_other_probe(open_page, text_of, probed):
    probe = probed()
    root = probe.folder.parents[1]
    assert "Nothing has been probed yet" in text_of(open_page("probes", root=root))
    links = [link.proto for link in open_page(root=root).get("page_link") if probe.id in link.proto.query_string]
    assert [(link.page, link.query_string) for link in links] == [("margins", f"probe={probe.id}")]


def test_margins_without_a_wrong_pair_and_without_a_probe(open_page, text_of, probed, fake):
    probe = probed(ties=True)
    test = open_page("margins", root=probe.folder.parents[1], probe=probe.id)
    assert "on none of these pairs" in test.success[0].value
    test = open_page("margins", root=probe.folder.parents[1], probe=probe.id, view="explained")
    assert any("nothing to explain" in info.value for info in test.info)
    assert "rmviz margins" in text_of(open_page("margins"))
