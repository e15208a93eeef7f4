"""What the backend answers is what the batch engine computes."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
import torch
from backend.conftest import SENTENCE, Place

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.waterfall import PairGame, taken_apart
from rmviz.activations.hooks import replacing
from rmviz.backend import apart
from rmviz.backend.apart import LiveGames
from rmviz.backend.client import Backend
from rmviz.backend.letters import pair_in
from rmviz.backend.live import LiveModel, LiveSAE
from rmviz.backend.prefixes import MAX_PREFIXES
from rmviz.backend.wire import AblateAnswer, AblateRequest, ReplacedError
from rmviz.backend.wire_pair import ShapleyRequest
from rmviz.errors import ConfigError, DataError, ModelError, NotFoundError
from rmviz.models.encoding import Encoded
from rmviz.models.load import from_artifact
from rmviz.sae.files import load_sae_artifact
from rmviz.store.artifact import Artifact
from rmviz.types import Pair, Text

TEXT = Text(text_id="t", prompt="Tell me of rain. ", reply=SENTENCE)


def parts(place: Place, kind: str) -> tuple[Artifact, Artifact, EffectEngine]:
    model, sae = getattr(place, kind), getattr(place, f"{kind}_sae")
    return model, sae, EffectEngine(from_artifact(model), load_sae_artifact(sae))


both = pytest.mark.parametrize("kind", ["causal", "encoder"])


@both
def test_scores_are_the_models(live: Backend, place: Place, kind: str) -> None:
    model, _, engine = parts(place, kind)
    texts = [TEXT, Text(text_id="u", prompt="", reply="short"), Text(text_id="v", prompt="x" * 300, reply=SENTENCE * 3)]
    answer = live.score(model.id, texts)
    np.testing.assert_allclose(answer.rewards, engine.rm.score(texts), atol=1e-5)
    assert answer.num_cut[0] == 0 and answer.num_cut[2] > 0
    assert answer.info.id == model.id and answer.info.format == "plain"


@both
def test_effects_are_the_engines(live: Backend, place: Place, kind: str) -> None:
    model, sae, engine = parts(place, kind)
    encoded = engine.rm.encode([TEXT])[0]
    rows, rewards = engine.scan([encoded])
    answer = live.features(model.name, sae.name, TEXT)
    assert answer.reward == pytest.approx(rewards[0], abs=1e-6) and answer.num_rows == len(rows) == len(answer.rows)
    found = {row.feature: row for row in answer.rows}
    np.testing.assert_allclose([found[f].effect for f in rows.feature.tolist()], rows.effect, atol=1e-6)
    for feature, first, largest in zip(rows.feature.tolist(), rows.first_position, rows.max_activation, strict=True):
        assert found[feature].positions[0] == first
        assert max(found[feature].activations) == pytest.approx(largest, rel=1e-5)
    sizes = [abs(row.effect or 0) for row in answer.rows]
    assert sizes == sorted(sizes, reverse=True)
    assert (
        "".join(t for t, real in zip(answer.tokens, answer.feature_positions, strict=True) if real)
        == TEXT.prompt + TEXT.reply
    )
    top = live.features(model.id, sae.id, TEXT, limit=3, with_prefixes=False)
    assert [row.feature for row in top.rows] == [row.feature for row in answer.rows[:3]]
    assert top.num_rows == answer.num_rows and not top.prefix_rewards


@both
def test_ablations_are_the_engines(live: Backend, place: Place, kind: str) -> None:
    model, sae, engine = parts(place, kind)
    encoded = engine.rm.encode([TEXT])[0]
    firing = [row.feature for row in live.features(model.id, sae.id, TEXT).rows]
    sets = [{firing[0]: 0.0}, {firing[0]: -2.0, firing[1]: 3.0}, dict.fromkeys(firing, 0.0), {firing[2]: 1.0}, {}]
    wanted = engine.set_rewards(encoded, sets)
    answers = [live.ablate(model.id, sae.id, TEXT, scales) for scales in sets]
    np.testing.assert_allclose([a.ablated for a in answers], wanted, atol=1e-6)
    assert answers[1].fired == sorted(firing[:2])
    assert all(a.ablated == a.clean for a in answers[3:])
    silent = next(f for f in range(engine.sae.d_sae) if f not in firing)
    answer = live.ablate(model.id, sae.id, TEXT, {silent: 0.0}, with_prefixes=True)
    assert answer.ablated == answer.clean and answer.fired == []


@both
def test_scales_and_values_are_what_a_hook_on_the_whole_model_gives(live: Backend, place: Place, kind: str) -> None:
    """Also of a feature that is silent here: a value is set at every token where features are defined."""
    model, sae, engine = parts(place, kind)
    encoded = engine.rm.encode([TEXT])[0]
    firing = [row.feature for row in live.features(model.id, sae.id, TEXT).rows]
    silent = next(f for f in range(engine.sae.d_sae) if f not in firing)
    edits = [
        ({}, {firing[0]: 2.5}),
        ({firing[1]: -2.0, firing[2]: 3.0}, {firing[0]: 0.0, silent: 4.0}),
        ({}, {silent: -1}),
    ]
    for scales, values in edits:
        answer = live.ablate(model.id, sae.id, TEXT, scales, values=values, with_prefixes=True)
        assert answer.ablated == pytest.approx(hooked_reward(engine, encoded, scales, values), abs=1e-5)
        assert answer.prefix_ablated[answer.prefix_positions[-1]] == pytest.approx(answer.ablated, abs=1e-5)
        assert abs(answer.ablated - answer.clean) > 1e-4
        middle = answer.prefix_positions[20]
        shown = [t for t, real in zip(answer.tokens, encoded.feature_positions, strict=True) if real]
        cut = engine.rm.encode([Text(text_id="cut", prompt="", reply="".join(shown[:21]))])[0]
        wanted = hooked_reward(engine, cut, scales, values)
        if kind == "causal":
            assert answer.prefix_ablated[middle] == pytest.approx(wanted, abs=1e-5)
    off = live.ablate(model.id, sae.id, TEXT, {firing[0]: 0.0}).ablated
    assert live.ablate(model.id, sae.id, TEXT, {}, values={firing[0]: 0.0}).ablated == pytest.approx(off, abs=1e-6)


def hooked_reward(
    engine: EffectEngine, encoded: Encoded, scales: Mapping[int, float], values: Mapping[int, float]
) -> float:
    """The reward with the model's own block hooked, activations as a dense table."""
    defined = torch.tensor(encoded.feature_positions)

    def edited(h: torch.Tensor) -> torch.Tensor:
        acts = engine.sae.encode(h[0])
        before = torch.zeros(h.shape[1], engine.sae.d_sae).scatter_(1, acts.indices.long(), acts.values.relu())
        after = before.clone()
        for feature, scale in scales.items():
            after[:, feature] *= scale
        for feature, value in values.items():
            after[:, feature] = value
        return h + ((after - before) * defined[:, None] @ engine.sae.W_dec)[None]

    with torch.no_grad(), replacing(engine.rm.block(engine.sae.hookpoint), edited):
        return float(engine.rm.score_encoded([encoded])[0])


def test_a_slider_held_down_is_computed_twice_at_most(
    live: Backend, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of thirty edits of one view that come while one is at work, the last alone is computed; other views go on."""
    model, sae, _ = parts(place, "causal")
    firing = [row.feature for row in live.features(model.id, sae.id, TEXT).rows]
    begun, go, plain, done = threading.Event(), threading.Event(), LiveModel.ablation, []

    def slow(self: LiveModel, request: AblateRequest, on: LiveSAE) -> AblateAnswer:
        begun.set()
        go.wait(10)
        done.append((request.view, dict(request.values)))
        return plain(self, request, on)

    monkeypatch.setattr(LiveModel, "ablation", slow)
    with ThreadPoolExecutor(32) as pool:

        def ask(value: float, view: str = "mine") -> "Future[AblateAnswer]":
            return pool.submit(live.ablate, model.id, sae.id, TEXT, {}, values={firing[0]: value}, view=view)

        first = ask(0.0)
        assert begun.wait(10)
        other, held = ask(9.0, "theirs"), []
        for step in range(30):
            held.append(ask(step / 10))
            while live.health().models[0].num_waiting != 2 or (step and not held[step - 1].done()):
                time.sleep(0.002)
        go.set()
        assert first.result() and other.result() and held[-1].result()
        assert all(isinstance(one.exception(), ReplacedError) for one in held[:-1])
    assert done == [("mine", {firing[0]: 0.0}), ("theirs", {firing[0]: 9.0}), ("mine", {firing[0]: 2.9})]


@both
def test_prefix_rewards_before_and_after(live: Backend, place: Place, kind: str) -> None:
    """The curve ends at the reward, and each point of it is the reward of the text cut there, edited or not."""
    model, sae, engine = parts(place, kind)
    firing = [row.feature for row in live.features(model.id, sae.id, TEXT).rows]
    scales = {firing[0]: 0.0, firing[3]: 2.0}
    answer = live.ablate(model.id, sae.id, TEXT, scales, with_prefixes=True)
    last = answer.prefix_positions[-1]
    assert answer.prefix_clean[last] == pytest.approx(answer.clean, abs=1e-5)
    assert answer.prefix_ablated[last] == pytest.approx(answer.ablated, abs=1e-5)
    assert live.prefixes(model.id, TEXT).prefix_rewards == pytest.approx(answer.prefix_clean, abs=1e-5, nan_ok=True)
    for position in answer.prefix_positions[5::17]:
        shown = [t for t, i in zip(answer.tokens, range(position + 1), strict=False) if t not in ("[CLS]", "[SEP]")]
        cut = engine.rm.encode([Text(text_id="cut", prompt="", reply="".join(shown))])[0]
        edited = engine.set_rewards(cut, [scales, {}])
        assert [answer.prefix_ablated[position], answer.prefix_clean[position]] == pytest.approx(
            edited.tolist(), abs=1e-5
        )


def test_encoder_reads_a_bounded_number_of_prefixes(
    live: Backend, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rmviz.backend.prefixes.MAX_PREFIXES", 10)
    answer = live.prefixes(place.encoder.id, TEXT)
    assert len(answer.prefix_positions) == 10 < MAX_PREFIXES
    filled = [i for i, reward in enumerate(answer.prefix_rewards) if reward is not None]
    assert filled == answer.prefix_positions and filled[0] == 1 and filled[-1] == len(answer.tokens) - 2


def test_parallel_requests_never_see_each_others_ablation(live: Backend, place: Place) -> None:
    model, sae, engine = parts(place, "causal")
    encoded = engine.rm.encode([TEXT])[0]
    firing = [row.feature for row in live.features(model.id, sae.id, TEXT).rows]
    sets = [{firing[i % len(firing)]: i / 4 - 2} for i in range(20)]
    assert len(firing) > 20, "the features that are set are none of those that are scaled"
    values = [{firing[-1]: float(i)} if i % 3 == 0 else {} for i in range(20)]
    wanted = engine.set_rewards(encoded, sets, values=values)
    with ThreadPoolExecutor(20) as pool:
        asked = [
            pool.submit(live.ablate, model.id, sae.id, TEXT, some, values=set_to, with_prefixes=i % 2 == 0)
            for i, (some, set_to) in enumerate(zip(sets, values, strict=True))
        ]
        plain = [pool.submit(live.score, model.id, [TEXT]) for _ in range(10)]
        np.testing.assert_allclose([a.result().ablated for a in asked], wanted, atol=1e-6)
        assert {round(p.result().rewards[0], 5) for p in plain} == {
            round(float(engine.rm.score_encoded([encoded])[0]), 5)
        }


def test_what_does_not_exist_is_named(live: Backend, place: Place) -> None:
    with pytest.raises(NotFoundError, match=r"no reward model called 'nothing'.*causal"):
        live.score("nothing", [TEXT])
    with pytest.raises(NotFoundError, match="no sae called"):
        live.features(place.causal.id, "../../etc/passwd", TEXT)
    with pytest.raises(NotFoundError, match="no reward model"):
        live.score(place.causal_sae.id, [TEXT])
    with pytest.raises(ConfigError, match="feature 4000 does not exist: this SAE has features 0 to 47"):
        live.ablate(place.causal.id, place.causal_sae.id, TEXT, {4000: 0.0})
    with pytest.raises(ConfigError, match="feature 4000 does not exist"):
        live.ablate(place.causal.id, place.causal_sae.id, TEXT, {}, values={4000: 0.0})
    with pytest.raises(ConfigError, match="feature 3 has both a scale and a value; give it one of them"):
        live.ablate(place.causal.id, place.causal_sae.id, TEXT, {3: 0.0}, values={3: 1.0})
    with pytest.raises(ModelError, match="another model"):
        live.features(place.causal.id, place.encoder_sae.id, TEXT)


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "\ud800 lone",
        "nul \x00 bell \x07",
        "emoji 👩‍👩‍👧 ‮rtl",
        "",
        "  \n\t ",
        "'; DROP TABLE x;--",
    ],
)
def test_hostile_strings_come_back_as_they_are(live: Backend, place: Place, text: str) -> None:
    for model, sae in ((place.causal, place.causal_sae), (place.encoder, place.encoder_sae)):
        if text == "" and model is place.causal:
            with pytest.raises(DataError, match="empty"):
                live.features(model.id, sae.id, text)
            continue
        answer = live.features(model.id, sae.id, text)
        shown = "".join(t for t, real in zip(answer.tokens, answer.feature_positions, strict=True) if real)
        assert shown == text.replace("\ud800", "\ufffd")
        assert answer.reward is not None


def test_a_million_characters_are_quick_and_more_are_refused(live: Backend, place: Place) -> None:
    live.score(place.causal.id, [TEXT])
    start = time.monotonic()
    answer = live.features(place.causal.id, place.causal_sae.id, (SENTENCE * 20_000)[:1_000_000])
    assert time.monotonic() - start < 2
    assert answer.num_cut > 900_000 and len(answer.tokens) == 128
    with pytest.raises(DataError, match="at most 1,000,000 characters, this one has 1,000,001"):
        live.score(place.causal.id, ["a" * 1_000_001])


PAIR = Pair(pair_id="p", prompt="Tell me of rain. ", chosen=SENTENCE, rejected="It rains. ")


@both
def test_a_pair_is_taken_apart_as_by_the_engine(live: Backend, place: Place, kind: str) -> None:
    model, sae, engine = parts(place, kind)
    wanted = taken_apart(engine, PAIR)
    answer = live.pair(model.id, sae.id, PAIR)
    assert answer.features == wanted.features.tolist() and not answer.same
    np.testing.assert_allclose(answer.chosen_effects, wanted.chosen_effects, atol=1e-6)
    np.testing.assert_allclose(answer.rejected_effects, wanted.rejected_effects, atol=1e-6)
    for i, side in enumerate((answer.chosen, answer.rejected)):
        told = (side.reward, side.error, side.base, side.interaction)
        assert told == pytest.approx(
            (wanted.rewards[i], wanted.errors[i], wanted.bases[i], wanted.interactions[i]), abs=1e-5
        )
    assert answer.interaction_share == pytest.approx(wanted.interaction_share, abs=1e-5)
    shares = live.shapley(model.id, sae.id, PAIR, num_features=3, num_permutations=8, seed=2)
    known = PairGame(engine, PAIR, num_features=3).shapley(num_permutations=8, seed=2)
    assert shares.features == known.features.tolist() and shares.num_permutations == 8
    np.testing.assert_allclose(shares.value, known.estimate.value, atol=1e-5)
    assert (shares.empty or 0) + sum(v or 0 for v in shares.value) == pytest.approx(wanted.margin, abs=1e-4)
    more = live.shapley(model.id, sae.id, PAIR, num_features=3, num_permutations=32, seed=2)
    again = live.shapley(model.id, sae.id, PAIR, num_features=3, num_permutations=8, seed=2)
    assert more.num_permutations == 32 and again == shares


def test_pairs_that_cannot_be_taken_apart_are_sentences(live: Backend, place: Place) -> None:
    model, sae = place.causal, place.causal_sae
    alike = Pair(pair_id="p", prompt="a" * 300, chosen=SENTENCE * 9, rejected="b" + SENTENCE * 9)
    answer = live.pair(model.id, sae.id, alike)
    assert (
        answer.same
        and answer.chosen.num_cut > 0
        and answer.chosen.reward == pytest.approx(answer.rejected.reward, abs=1e-5)
    )
    with pytest.raises(DataError, match="at most 1,000,000 characters"):
        live.pair(model.id, sae.id, Pair(pair_id="p", prompt="a" * 600_000, chosen="b" * 600_000, rejected="c"))
    with pytest.raises(ConfigError, match="num_permutations"):
        live.shapley(model.id, sae.id, PAIR, num_permutations=2)
    with pytest.raises(DataError, match="empty"):
        live.pair(model.id, sae.id, Pair(pair_id="p", prompt="", chosen="", rejected="c"))


def test_a_game_is_kept_only_while_its_passes_are_small(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, engine = parts(place, "causal")
    pair = Pair(pair_id="p", prompt="Tell me. ", chosen="kind rain", rejected="rain")
    request = ShapleyRequest(model="m", sae="s", pair=pair_in(pair), num_features=2, num_permutations=8)
    games, made = LiveGames(), []
    monkeypatch.setattr(apart, "PairGame", lambda *args, **options: made.append(PairGame(*args, **options)) or made[-1])
    first = games.answer(engine, request)
    assert games.answer(engine, request) == first and len(made) == 1
    positions, keys_values = 0, 0
    for text in pair.texts:
        clean, _ = engine.read(engine.rm.encode([text])[0])
        positions += clean.residual.numel()
        keys_values += sum(tensor.numel() for both in clean.keys_values.values() for tensor in both)
    assert made[0].num_bytes >= 2 * 4 * (positions + keys_values), "with and without the SAE's error"
    monkeypatch.setattr(apart, "KEPT_BYTES", made[0].num_bytes - 1)
    assert games.answer(engine, request) == first and len(made) == 1
    assert games.answer(engine, request) == first and len(made) == 2, "it was too large to keep"
