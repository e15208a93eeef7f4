"""A small workspace with every kind of artifact that pages read, its tables true to their schema; no model, no torch.

By hand: `python tests/pages/synthetic.py FOLDER [--features 16384] [--pairs 40]`.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rmviz.data.keep import keep_dataset
from rmviz.data.problems import Problem
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.tables import save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Pair

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    '"><svg onload=alert(3)>',
    "![x](http://evil.test/p.png)",
    "[click](javascript:alert(4))",
    "$x^2$ **bold** :red[red] `code`",
    "{{constructor.constructor('alert(5)')()}}",
    '=HYPERLINK("http://evil.test")',
)
WORDS = [
    "the",
    "garden",
    "was",
    "quiet",
    "and",
    "the",
    "old",
    "sailor",
    "spoke",
    "of",
    "politics",
    "while",
    "rain",
    "fell",
    "on",
    "grey",
    "roofs",
    "of",
    "a",
    "kind",
    "city",
]


def build(root: Path, *, num_features: int = 60, num_pairs: int = 40, seed: int = 0) -> dict[str, Artifact]:
    """The workspace, and its artifacts by kind."""
    rng = np.random.default_rng(seed)
    workspace = Workspace(root)
    pairs = _pairs(rng, num_pairs)
    problems = [
        Problem(file="pairs.jsonl", line=7, reason="chosen is empty", excerpt='{"chosen": ""}'),
        Problem(file="pairs.jsonl", line=9, reason="not JSON", excerpt=HOSTILE[0]),
    ]
    dataset = keep_dataset(workspace, pairs, name="toy pairs", heldout=0.2, seed=0, problems=problems)
    model = _model(workspace, dataset)
    sae = _sae(workspace, model, dataset, num_features)
    texts = _texts(rng, pairs)
    table = _feature_table(rng, num_features, num_pairs)
    effects = _effects(workspace, sae, dataset, model, texts, table)
    features = _features(workspace, effects, sae, model, texts, table, rng)
    _jobs(root)
    return {"dataset": dataset, "reward_model": model, "sae": sae, "effects": effects, "features": features}


def _sentence(rng: np.random.Generator, length: int) -> str:
    return " ".join(rng.choice(WORDS, length)).capitalize() + "."


def _pairs(rng: np.random.Generator, count: int) -> list[Pair]:
    pairs = []
    for index in range(count):
        prompt = f"\n\nHuman: {_sentence(rng, 9)}\n\nAssistant:"
        chosen, rejected = f" {_sentence(rng, 18)}", f" {_sentence(rng, 15)}"
        if index < len(HOSTILE):
            chosen += f" {HOSTILE[index]}"
        pairs.append(
            Pair(
                pair_id=f"pair-{index:04d}",
                prompt=prompt,
                chosen=chosen,
                rejected=rejected,
                extra={"topic": str(rng.choice(["rain", "sea"]))},
            )
        )
    return pairs


def _model(workspace: Workspace, dataset: Artifact) -> Artifact:
    record = {
        "source": "model",
        "revision": "",
        "family": "gpt_neox",
        "adapter": "",
        "format": "transcript",
        "format_reason": "trained on transcripts",
        "max_length": 128,
        "num_blocks": 4,
        "d_in": 64,
        "causal": True,
        "vocab_size": 500,
        "fingerprint": "f" * 64,
    }
    with workspace.create("reward_model", name=f"toy rm {HOSTILE[0]}", parents=(dataset.id,)) as draft:
        write_json(draft.folder / "reward_model.json", record)
        draft.metrics.update(accuracy=0.71, num_pairs=8, steps=120, seed=0)
    return draft.kept


def _sae(workspace: Workspace, model: Artifact, dataset: Artifact, d_sae: int) -> Artifact:
    card = {
        "l0": 31.6,
        "fvu": 0.21,
        "fvu_with_sinks": 0.18,
        "cosine": 0.91,
        "cosine_with_sinks": 0.92,
        "dead_share": 0.03,
        "splice_pair_accuracy": 0.69,
        "clean_pair_accuracy": 0.71,
        "splice_spearman": 0.94,
        "splice_margin_r2": 0.87,
        "num_tokens": 20000,
        "num_pairs": 8,
        "warnings": [f"The splice keeps only 0.94 of the order of rewards {HOSTILE[3]}."],
    }
    with workspace.create(
        "sae",
        name="toy sae",
        parents=(model.id, dataset.id),
        config={"hookpoint": "layers.1", "d_sae": d_sae, "k": 32, "architecture": "topk"},
    ) as draft:
        write_json(draft.folder / "report_card.json", card)
        draft.metrics.update({name: value for name, value in card.items() if name != "warnings"})
    return draft.kept


def _texts(rng: np.random.Generator, pairs: list[Pair]) -> pd.DataFrame:
    rows = []
    for pair in pairs:
        for text in pair.texts:
            tokens = [f" {word}" if i else word for i, word in enumerate((text.prompt + text.reply).split(" "))]
            rows.append(
                {
                    "text_id": text.text_id,
                    "pair_id": text.pair_id,
                    "side": text.side,
                    "prompt": text.prompt,
                    "reply": text.reply,
                    "token_ids": list(range(len(tokens))),
                    "feature_positions": [True] * len(tokens),
                    "tokens": tokens,
                    "reply_start": len(text.prompt.split(" ")),
                    "num_cut": 0,
                    "reward": float(rng.normal()),
                }
            )
    return pd.DataFrame(rows)


def _feature_table(rng: np.random.Generator, count: int, num_pairs: int) -> pd.DataFrame:
    num_texts = rng.integers(1, 2 * num_pairs + 1, count)
    table = pd.DataFrame(
        {"feature": np.arange(count), "num_texts": num_texts, "text_share": num_texts / (2 * num_pairs)}
    )
    for by, spread in (("mean", 0.1), ("firing", 0.4), ("margin", 0.05)):
        effect = rng.standard_t(3, count) * spread
        half = np.abs(rng.normal(spread, spread / 3, count)) / np.sqrt(num_texts)
        table[f"{by}_effect"] = effect
        table[f"{by}_effect_low"], table[f"{by}_effect_high"] = effect - half, effect + half
        table[f"{by}_effect_q"] = np.clip(np.exp(-np.abs(effect) / half), 0, 1)
    table["num_pairs"] = np.minimum(num_texts, num_pairs)
    table["effective_n"] = num_texts * 0.8
    table["mean_first_order"] = table["mean_effect"] * 1.1
    table["max_activation"] = rng.exponential(3, count)
    table["density"] = rng.uniform(0.0005, 0.4, count)
    table["template_share"] = rng.uniform(0, 0.6, count)
    table["template"] = np.arange(count) % 11 == 0
    table["ever_firing"] = np.arange(count) % 13 == 0
    table["top_tokens"] = [f"·{rng.choice(WORDS)} ·{rng.choice(WORDS)} ·{rng.choice(WORDS)}" for _ in range(count)]
    table.loc[: len(HOSTILE) - 1, "top_tokens"] = [f"{text} ·word" for text in HOSTILE[:count]]
    table["mean_activation"] = table["max_activation"] / 3
    table["umap_x"], table["umap_y"] = rng.normal(size=count), rng.normal(size=count)
    return table


def _effects(
    workspace: Workspace, sae: Artifact, dataset: Artifact, model: Artifact, texts: pd.DataFrame, table: pd.DataFrame
) -> Artifact:
    columns = [
        name
        for name in table
        if name
        not in (
            "density",
            "template_share",
            "template",
            "ever_firing",
            "top_tokens",
            "mean_activation",
            "umap_x",
            "umap_y",
        )
    ]
    with workspace.create(
        "effects", name="toy effects", parents=(sae.id, dataset.id, model.id), config={"split": "all", "seed": 0}
    ) as draft:
        save_table(texts, draft.folder / "texts.parquet")
        save_table(table[columns], draft.folder / "summary.parquet")
        write_json(draft.folder / "audit.json", {})
        draft.metrics.update(num_texts=len(texts), num_pairs=len(texts) // 2, num_features=len(table), num_rows=4321)
    return draft.kept


def _features(
    workspace: Workspace,
    effects: Artifact,
    sae: Artifact,
    model: Artifact,
    texts: pd.DataFrame,
    table: pd.DataFrame,
    rng: np.random.Generator,
) -> Artifact:
    records = texts.head(60).to_dict("records")
    pages = pd.DataFrame(
        {
            "feature": table["feature"],
            "page": [json.dumps(_page(int(f), records, len(table), rng)) for f in table["feature"]],
        }
    )
    with workspace.create(
        "features",
        name="toy features",
        parents=(effects.id, sae.id, model.id),
        config={"num_bins": 5, "per_bin": 2, "seed": 0},
    ) as draft:
        save_table(table, draft.folder / "features.parquet")
        save_table(pages, draft.folder / "pages.parquet", row_group_size=16)
        draft.metrics.update(num_features=len(table))
    return draft.kept


def _page(feature: int, texts: list[dict[str, Any]], count: int, rng: np.random.Generator) -> dict[str, Any]:
    examples = []
    for number in range(10):
        text = texts[(feature + number) % len(texts)]
        acts = np.where(rng.random(len(text["tokens"])) < 0.15, rng.exponential(2, len(text["tokens"])), 0.0).round(3)
        examples.append(
            {
                "bin": number // 2,
                "activation": float(acts.max()),
                "effect": float(rng.normal(0, 0.2)),
                "reward": text["reward"],
                "text_id": text["text_id"],
                "pair_id": text["pair_id"],
                "side": text["side"],
                "tokens": list(text["tokens"]),
                "acts": acts.tolist(),
                "start": 0,
            }
        )
    counts = rng.integers(1, 50, 20).tolist()
    others = [int(f) for f in rng.choice(count, min(10, count), replace=False)]
    return {
        "feature": feature,
        "examples": examples,
        "histogram": {"edges": np.linspace(0, 5, 21).tolist(), "counts": counts},
        "effect_histogram": {"edges": np.linspace(-1, 1, 21).tolist(), "counts": counts},
        "tokens": [
            {"token": t, "count": 12 - i, "mean_activation": 2.0 - 0.1 * i}
            for i, t in enumerate([" rain", "\n", HOSTILE[0], *HOSTILE[2:6]])
        ],
        "neighbours": {
            "decoder": [{"feature": f, "cosine": 0.9 - 0.05 * i} for i, f in enumerate(others)],
            "cofiring": [{"feature": f, "phi": 0.5 - 0.04 * i} for i, f in enumerate(others[::-1])],
        },
    }


def _jobs(root: Path) -> None:
    now = time.time()
    for key, state, extra in (
        ("effects-0000000000000001", "running", {"host": "another machine"}),
        ("sae.train-0000000000000002", "failed", {"error": f"ModelError: no hookpoint {HOSTILE[0]}"}),
        ("features-0000000000000003", "succeeded", {}),
    ):
        folder = root / "jobs" / key
        folder.mkdir(parents=True)
        write_json(folder / "state.json", {"kind": key.split("-")[0], "state": state, "time": now, **extra})
        line = {"time": now, "step": 40, "total": 100, "rate": 8.0, "rows": 1200.0}
        (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")


def main() -> None:
    """Build one from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--features", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=40)
    given = parser.parse_args()
    made = build(given.folder, num_features=given.features, num_pairs=given.pairs)
    assert all(math.isfinite(artifact.created) for artifact in made.values())


if __name__ == "__main__":
    main()
