"""A tiny reward model, an SAE on it and the effects of all its features, made without the effect engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPTNeoXConfig, GPTNeoXForSequenceClassification, PreTrainedTokenizerFast

from rmviz.activations.hooks import residuals
from rmviz.configs.effects import FeaturesConfig
from rmviz.features.index import run
from rmviz.models.load import from_artifact, load_reward_model
from rmviz.sae.files import save_sae
from rmviz.sae.model import SparseAutoencoder
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.tables import save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Text

WORDS = [
    "rain",
    "sea",
    "garden",
    "sailor",
    "politics",
    "baby",
    "birth",
    "quiet",
    "grey",
    "kind",
    "city",
    "old",
    "roof",
    "spoke",
    "while",
    "fell",
]
HOSTILE = ["<script>alert(1)</script>", "\x00\x1b[2J", "👩‍👩‍👧 émoji", "x" * 300, "\n\n\n", "   "]


@dataclass
class QuietReport:
    """A report that keeps what it was told."""

    folder: Path
    key: str = ""

    def __post_init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    def __call__(self, step: int, total: int, metrics: Mapping[str, float] | None = None) -> None:
        self.steps.append((step, total))


@dataclass
class Scanned:
    """A workspace with everything that the feature index reads."""

    workspace: Workspace
    effects: Artifact
    rows: pd.DataFrame
    texts: list[Text]

    def config(self, **settings: int) -> FeaturesConfig:
        return FeaturesConfig(effects=self.effects.id, **settings)  # type: ignore[arg-type]


def _tokenizer(lines: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>", model_max_length=96
    )


def _texts(num_pairs: int) -> list[Text]:
    rng = np.random.default_rng(0)
    texts = []
    for number in range(num_pairs):
        prompt = f"\n\nHuman: {' '.join(rng.choice(WORDS, 5))}?\n\nAssistant:"
        for side in ("chosen", "rejected"):
            reply = " " + " ".join(rng.choice(WORDS, int(rng.integers(4, 9)))) + "."
            if side == "chosen" and number < len(HOSTILE):
                reply += HOSTILE[number]
            texts.append(Text(text_id=f"p{number}/{side}", prompt=prompt, reply=reply, pair_id=f"p{number}", side=side))
    return texts


def _model(workspace: Workspace, texts: list[Text]) -> Artifact:
    torch.manual_seed(0)
    tokenizer = _tokenizer([text.prompt + text.reply for text in texts])
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=96,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
    )
    with workspace.create("reward_model", name="tiny") as draft:
        GPTNeoXForSequenceClassification(config).save_pretrained(draft.folder / "model")
        tokenizer.save_pretrained(draft.folder / "model")
        rm = load_reward_model(draft.folder / "model", format="transcript")
        record = {
            "source": "model",
            "revision": "",
            "format": rm.format,
            "format_reason": "a test",
            "append_eos": False,
        }
        write_json(
            draft.folder / "reward_model.json", {**record, "max_length": rm.max_length, "fingerprint": rm.fingerprint}
        )
    return draft.kept


def _sae(workspace: Workspace, model: Artifact, d_sae: int = 40, k: int = 4) -> tuple[Artifact, SparseAutoencoder]:
    rm = from_artifact(model)
    torch.manual_seed(1)
    W_enc = torch.nn.functional.normalize(torch.randn(rm.d_in, d_sae), dim=0)
    sae = SparseAutoencoder(
        architecture="topk",
        W_enc=W_enc,
        W_dec=W_enc.T.clone(),
        b_dec=torch.zeros(rm.d_in),
        b_enc=torch.zeros(d_sae),
        k=k,
        hookpoint="layers.0",
        model_fingerprint=rm.fingerprint,
    )
    sae.b_enc[-3:] = -1000.0  # three features that never fire
    with workspace.create("sae", name="tiny sae", parents=(model.id,)) as draft:
        save_sae(draft.folder / "sae", sae)
    return draft.kept, sae


@pytest.fixture(scope="session")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    """Twenty-four pairs, all features, random effects."""
    return scan(Workspace(tmp_path_factory.mktemp("features")), _texts(24))


def scan(workspace: Workspace, texts: list[Text]) -> Scanned:
    model = _model(workspace, texts)
    sae_artifact, sae = _sae(workspace, model)
    rm = from_artifact(model)
    rng = np.random.default_rng(1)
    rows, records = [], []
    for text, one in zip(texts, rm.encode(texts), strict=True):
        h, reward = residuals(rm, rm.collate([one]), "layers.0")
        defined = torch.tensor(one.feature_positions)
        acts = sae.encode(h[0][defined])
        dense = torch.zeros(int(defined.sum()), sae.d_sae).scatter_(1, acts.indices.long(), acts.values).numpy()
        positions = np.flatnonzero(one.feature_positions)
        for feature in np.flatnonzero(dense.max(axis=0) > 0):
            fires = dense[:, feature] > 0
            rows.append(
                {
                    "text_id": text.text_id,
                    "pair_id": text.pair_id,
                    "side": text.side,
                    "feature": int(feature),
                    "first_position": int(positions[fires][0]),
                    "max_activation": float(dense[:, feature].max()),
                    "effect": float(rng.normal()),
                    "first_order": 0.0,
                    "num_firings": int(fires.sum()),
                }
            )
        records.append(
            {
                "text_id": text.text_id,
                "pair_id": text.pair_id,
                "side": text.side,
                "prompt": text.prompt,
                "reply": text.reply,
                "token_ids": list(one.ids),
                "feature_positions": list(one.feature_positions),
                "tokens": list(one.tokens),
                "reply_start": one.reply_start,
                "num_cut": one.num_cut,
                "reward": float(reward[0]),
            }
        )
    frame = pd.DataFrame(rows)
    with workspace.create("effects", name="tiny effects", parents=(sae_artifact.id, model.id)) as draft:
        (draft.folder / "rows").mkdir()
        kept = frame.drop(columns="num_firings").astype(
            {"feature": "int32", "max_activation": "float32", "effect": "float32"}
        )
        for shard, ids in enumerate(np.array_split([text.text_id for text in texts], 3)):
            save_table(kept[kept["text_id"].isin(ids)], draft.folder / "rows" / f"{shard:05d}.parquet")
        save_table(pd.DataFrame(records), draft.folder / "texts.parquet")
        save_table(_summary(frame, len(texts)), draft.folder / "summary.parquet")
    return Scanned(workspace, draft.kept, frame, texts)


def _summary(rows: pd.DataFrame, num_texts: int) -> pd.DataFrame:
    grouped = rows.groupby("feature")
    summary = grouped.agg(
        num_texts=("text_id", "size"), firing_effect=("effect", "mean"), max_activation=("max_activation", "max")
    )
    summary["text_share"] = summary["num_texts"] / num_texts
    summary["mean_effect"] = summary["firing_effect"] * summary["text_share"]
    summary["margin_effect"] = summary["mean_effect"] / 2
    for by in ("mean", "firing", "margin"):
        summary[f"{by}_effect_low"], summary[f"{by}_effect_high"] = (
            summary[f"{by}_effect"] - 0.1,
            summary[f"{by}_effect"] + 0.1,
        )
        summary[f"{by}_effect_q"] = 0.5
    summary["num_pairs"], summary["effective_n"], summary["mean_first_order"] = grouped["pair_id"].nunique(), 5.0, 0.0
    return summary.reset_index()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> QuietReport:
    return QuietReport(tmp_path_factory.mktemp("job"))


@pytest.fixture(scope="session")
def made(scanned: Scanned, report: QuietReport) -> Artifact:
    """The feature index of the tiny effects."""
    return run(scanned.config(num_bins=5, per_bin=2, context=4, num_neighbours=5), scanned.workspace, report)
