"""Naive hook against engine, side by side on the same model, SAE and texts; CPU time of one thread, interleaved."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPTNeoXConfig,
    GPTNeoXForSequenceClassification,
    PreTrainedTokenizerFast,
)

from rmviz.ablation.engine import EffectEngine
from rmviz.ablation.first_order import first_order_effects
from rmviz.ablation.naive import naive_effects
from rmviz.activations.hooks import residuals
from rmviz.data.load import dataset_texts
from rmviz.errors import NotFoundError
from rmviz.models.encoding import Encoded
from rmviz.models.load import from_artifact
from rmviz.models.reward_model import RewardModel
from rmviz.sae.files import load_sae_artifact, model_of
from rmviz.sae.model import SparseActs, SparseAutoencoder
from rmviz.store.workspace import Workspace

SHARES = (0.016, 0.06, 0.3, 1.0)
"""Share of the (text, feature) rows that fires, one case each."""
PLANTED_SAE = "world-sae"
_VOCAB, _LENGTH, _NUM_TEXTS, _D_SAE, _K = 5000, 64, 64, 2048, 32
_NAIVE_SAMPLE = 8


class _PlainTopK(SparseAutoencoder):
    """The SAE as the naive hook has it: without rmviz's two-stage top-k."""

    def _encoded(self, h: Tensor) -> SparseActs:
        if self.k is None:
            return super()._encoded(h)
        pre_acts = torch.addmm(self.b_enc, h - self.b_dec if self.center else h, self.W_enc)
        values, indices = pre_acts.topk(self.k, dim=-1)
        return SparseActs(indices, values.relu())


def run_bench(
    workspace: Workspace | None = None,
    *,
    model: str = "",
    sae: str = "",
    texts: str = "",
    num_features: int = 64,
    num_rounds: int = 3,
) -> dict[str, Any]:
    """Ratios of the naive hook's time to the engine's.

    The naive hook batches 64 texts, encodes the SAE again in its hook (with `torch.topk`), and runs the whole model once
    per feature. It is timed on a few features of each case in every round, and scaled to all of them (`naive_sampled`
    says how many).

    Args:
        workspace: Where artifacts are; needed for one's own, and for the planted model's cases.
        model: Reward model of one's own, with `sae` and `texts`; else two small random models.
        sae: Its SAE.
        texts: A dataset.
        num_features: Features per case.
        num_rounds: Interleaved rounds; medians are reported.

    Returns:
        `{"cases": [{model, hookpoint, share_planned, naive_seconds, engine_seconds, ratio, max_difference, ...}]}`, and
        `first_order`: the cost of gradient × activation of all features against the naive hook for all of them.

    Raises:
        NotFoundError: An artifact does not exist.
    """
    cases: list[dict[str, Any]] = []
    first_order: list[dict[str, Any]] = []
    with _one_thread():
        if model or sae or texts:
            if workspace is None or not (model and sae and texts):
                raise NotFoundError("a bench on a model of your own needs --model, --sae and --texts")
            cases += _own(workspace, model, sae, texts, num_features, num_rounds)
        else:
            for rm in (_gpt_neox(), _bert()):
                encoded = _random_texts(_NUM_TEXTS, seed=7)
                own_sae = _data_sae(rm, "layers.1")
                cases += _shares(rm, own_sae, encoded, num_features, num_rounds)
                first_order.append(_first_order_case(rm, own_sae, encoded, cases[-1], num_rounds))
            if workspace is not None:
                for exact, cheap in _planted(workspace, num_rounds):
                    cases.append(exact)
                    first_order.append(cheap)
    return {"cases": cases, "first_order": first_order, "clock": "CPU time of one thread", "num_rounds": num_rounds}


def _case(
    rm: RewardModel,
    sae: SparseAutoencoder,
    encoded: Sequence[Encoded],
    features: Sequence[int],
    num_rounds: int,
    *,
    sample: int = _NAIVE_SAMPLE,
) -> dict[str, Any]:
    engine, naive_sae = EffectEngine(rm, sae), _PlainTopK(**vars(sae))
    chosen = np.array(features)
    rng = np.random.default_rng(0)
    engine.scan(encoded[:4], features=features, first_order=False)  # the self-check, once per model and SAE
    engine_times, naive_times, worst = [], [], 0.0
    rows = engine.scan([], first_order=False)[0]
    for _ in range(num_rounds):
        some = rng.choice(chosen, min(sample, len(chosen)), replace=False)
        seconds, wanted = _timed(lambda some=some: naive_effects(rm, naive_sae, encoded, some.tolist()))
        naive_times.append(seconds * (len(chosen) + 1) / (len(some) + 1))
        seconds, (rows, _) = _timed(lambda: engine.scan(encoded, features=features, first_order=False))
        engine_times.append(seconds)
        table = np.zeros((len(encoded), sae.d_sae), np.float32)
        table[rows.text, rows.feature] = rows.effect
        worst = max(worst, float(np.abs(table[:, some] - wanted).max()))
    naive, ours = statistics.median(naive_times), statistics.median(engine_times)
    return {
        "model": rm.name, "hookpoint": sae.hookpoint, "share_planned": len(rows) / max(len(encoded) * len(chosen), 1),
        "naive_seconds": naive, "engine_seconds": ours, "ratio": naive / ours, "max_difference": worst,
        "num_texts": len(encoded), "num_features": len(chosen), "naive_sampled": min(sample, len(chosen)), "method": engine.method,
    }  # fmt: skip


def _planted(workspace: Workspace, num_rounds: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """All alive features on 200 texts of the planted model, exactly and to first order; nothing if it is not built."""
    try:
        artifact = workspace.resolve(PLANTED_SAE, "sae")
    except NotFoundError:
        return []
    dataset = next(one for one in map(workspace.resolve, artifact.parents) if one.kind == "dataset")
    rm, sae = from_artifact(model_of(workspace, artifact), device="cpu"), load_sae_artifact(artifact)
    encoded = rm.encode(dataset_texts(dataset, split="heldout", num_pairs=100))
    rows, _ = EffectEngine(rm, sae).scan(encoded, first_order=False)
    exact = _case(rm, sae, encoded, np.unique(rows.feature).tolist(), num_rounds)
    return [(exact, _first_order_case(rm, sae, encoded, exact, num_rounds))]


def _first_order_case(
    rm: RewardModel, sae: SparseAutoencoder, encoded: Sequence[Encoded], exact: dict[str, Any], num_rounds: int
) -> dict[str, Any]:
    """Gradient × activation of all features against the naive hook for all of them."""
    ours = statistics.median(_timed(lambda: first_order_effects(rm, sae, encoded))[0] for _ in range(num_rounds))
    naive = exact["naive_seconds"] * (sae.d_sae + 1) / (exact["num_features"] + 1)
    return {
        "model": exact["model"], "hookpoint": exact["hookpoint"], "num_texts": len(encoded), "num_features": sae.d_sae,
        "naive_seconds": naive, "first_order_seconds": ours, "ratio": naive / ours,
    }  # fmt: skip


def _own(
    workspace: Workspace, model: str, sae: str, texts: str, num_features: int, num_rounds: int
) -> list[dict[str, Any]]:
    rm = from_artifact(workspace.resolve(model, "reward_model"), device="cpu")
    own_sae = load_sae_artifact(workspace.resolve(sae, "sae"))
    own_sae.check_fits(rm)
    some = dataset_texts(workspace.resolve(texts, "dataset"), num_pairs=_NUM_TEXTS // 2)
    encoded = rm.encode(some[:_NUM_TEXTS])
    return _shares(rm, own_sae, encoded, num_features, num_rounds)


def _shares(
    rm: RewardModel, sae: SparseAutoencoder, encoded: Sequence[Encoded], num_features: int, num_rounds: int
) -> list[dict[str, Any]]:
    """One case per share of rows that fires."""
    chosen = [_features_near(rm, sae, encoded, share, num_features) for share in SHARES]
    return [_case(rm, sae, encoded, features, num_rounds) for features in chosen]


def _features_near(
    rm: RewardModel, sae: SparseAutoencoder, encoded: Sequence[Encoded], share: float, number: int
) -> list[int]:
    """Features whose share of texts is nearest to a share."""
    fires = np.zeros((len(encoded), sae.d_sae), bool)
    for i, one in enumerate(encoded):
        h, _ = residuals(rm, rm.collate([one]), sae.hookpoint)
        acts = sae.encode(h[0][torch.tensor(one.feature_positions)])
        fires[i, acts.indices[acts.values > 0].cpu().numpy()] = True
    shares = fires.mean(0)
    alive = np.flatnonzero(shares)
    return alive[np.argsort(np.abs(shares[alive] - share), kind="stable")[:number]].tolist()


def _gpt_neox() -> RewardModel:
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=_VOCAB, hidden_size=256, num_hidden_layers=6, num_attention_heads=8, intermediate_size=1024,
        max_position_embeddings=256, pad_token_id=0, initializer_range=0.08,
    )  # fmt: skip
    config.num_labels = 1
    model = GPTNeoXForSequenceClassification(config).requires_grad_(False)
    return RewardModel(model, _tokenizer(), name="GPT-NeoX, 6 blocks, d 256, random")


def _bert() -> RewardModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=_VOCAB, hidden_size=384, num_hidden_layers=6, num_attention_heads=6, intermediate_size=1536,
        max_position_embeddings=256, pad_token_id=0, initializer_range=0.08,
    )  # fmt: skip
    config.num_labels = 1
    model = BertForSequenceClassification(config).requires_grad_(False)
    return RewardModel(model, _tokenizer(), name="BERT, 6 blocks, d 384, random")


def _tokenizer() -> PreTrainedTokenizerFast:
    words = {str(i): i for i in range(_VOCAB)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="1")), unk_token="1")


def _random_texts(num_texts: int, *, seed: int) -> list[Encoded]:
    """Texts of equal length whose tokens follow Zipf's law."""
    weights = 1 / np.arange(1, _VOCAB)
    ids = np.random.default_rng(seed).choice(_VOCAB - 1, (num_texts, _LENGTH), p=weights / weights.sum()) + 1
    return [
        Encoded(
            text_id=str(i), pair_id="", side="text", ids=tuple(row), token_types=None, feature_positions=(True,) * _LENGTH,
            reply_start=_LENGTH, num_cut=0, tokens=tuple(map(str, row)),
        )
        for i, row in enumerate(ids.tolist())
    ]  # fmt: skip


def _data_sae(rm: RewardModel, hookpoint: str) -> SparseAutoencoder:
    """A TopK SAE whose directions are centred residuals of other texts, with biases that make features rarer and rarer.

    So its features fire on words, on anything from 1 to all of the texts, as those of a trained SAE do.
    """
    encoded = _random_texts(512, seed=123)
    h = torch.cat(
        [residuals(rm, rm.collate(encoded[i : i + 64]), hookpoint)[0].flatten(0, 1) for i in range(0, 512, 64)]
    )
    mean = h.mean(0)
    chosen = torch.randperm(len(h), generator=torch.Generator().manual_seed(1))[:_D_SAE]
    W_dec = torch.nn.functional.normalize(h[chosen] - mean, dim=1)
    spread = ((h[:4096] - mean) @ W_dec.T).std()
    b_enc = spread * (0.7 - torch.linspace(0, 3, _D_SAE).square() / 3)
    return SparseAutoencoder(
        architecture="topk",
        W_enc=W_dec.T.contiguous(),
        b_enc=b_enc,
        W_dec=W_dec / _K,
        b_dec=mean,
        k=_K,
        hookpoint=hookpoint,
    )


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
