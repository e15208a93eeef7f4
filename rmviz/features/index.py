"""The feature index: what every feature's page shows, made in one pass of model and SAE over the scanned texts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from rmviz.configs.base import to_dict
from rmviz.configs.effects import FeaturesConfig
from rmviz.errors import DataError
from rmviz.features.effect_rows import EffectRows, Examples
from rmviz.features.marks import EVER_FIRING_SHARE, TEMPLATE_SHARE
from rmviz.features.neighbours import firing_matrix, nearest_cofiring, nearest_decoders, texts_to_compare
from rmviz.features.pages import fitted, neighbour_list, rounded, write_pages
from rmviz.features.passing import FiringPass
from rmviz.features.projection import earlier_projection, projection
from rmviz.features.read import FEATURES, PAGES
from rmviz.features.tally import FeatureTally, Windows, WordTally, load_pass, save_pass
from rmviz.features.texts import ScannedTexts
from rmviz.features.words import joined, log_odds, top_words, word_of
from rmviz.jobs.progress import CheckpointClock
from rmviz.models.load import from_artifact
from rmviz.sae.files import load_sae_artifact
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table, save_table
from rmviz.store.workspace import Workspace
from rmviz.types import Report

_NUM_NAME_WORDS = 5
_NUM_PAGE_WORDS = 20


def run(config: FeaturesConfig, workspace: Workspace, report: Report) -> Artifact:
    """Make the feature index of an effects artifact; an interrupted pass goes on at its last checkpoint.

    Raises:
        DataError: No feature fires in any of the texts.
        ModelError: The model reads the texts otherwise than when the effects were measured, or the SAE is not for it.
        ArtifactError: A file of the effects cannot be read.
    """
    effects = workspace.resolve(config.effects, "effects")
    sae_artifact, model_artifact = (_parent(workspace, effects, kind) for kind in ("sae", "reward_model"))
    rm = from_artifact(model_artifact)
    sae = load_sae_artifact(sae_artifact).to(rm.device)
    sae.check_fits(rm)

    index = FeatureIndex(config, effects)
    total = len(index.texts) + len(index.features) + 1
    steps = FiringPass(rm, sae, index.texts, index.features, index.word_of_token)
    for done in index.count(steps, report.folder / "pass.npz"):
        report(done, total, {"texts": done})
    decoder = sae.W_dec[index.features.tolist()]
    index.find_neighbours(decoder)

    with workspace.create(
        "features",
        name=config.name or effects.name,
        key=report.key,
        config=to_dict(config),
        parents=(effects.id, sae_artifact.id, model_artifact.id),
    ) as draft:
        for pages in write_pages(draft.folder / PAGES, index.pages()):
            report(len(index.texts) + pages, total, {"pages": pages})
        flat = earlier_projection(workspace, sae_artifact.id, index.features)
        if flat is None:
            flat = projection(decoder.float().cpu().numpy(), config.seed)
        table = index.table().assign(umap_x=flat[:, 0], umap_y=flat[:, 1])
        save_table(table, draft.folder / FEATURES)
        draft.metrics |= index.metrics(table)
        report(total, total, {"features": len(table)})
    return draft.kept


def _parent(workspace: Workspace, artifact: Artifact, kind: str) -> Artifact:
    ref = next((ref for ref in artifact.parents if ref.startswith(kind.replace("_", "-"))), kind)
    return workspace.resolve(ref, kind)


class FeatureIndex:
    """All that is known of the alive features while the index is made; features go by their place in `features`."""

    def __init__(self, config: FeaturesConfig, effects: Artifact) -> None:
        """Read the effects and choose the examples.

        Raises:
            DataError: No feature fires in any of the texts.
            ArtifactError: A file of the effects cannot be read.
        """
        self.config = config
        self.summary = load_table(effects.path("summary.parquet")).sort_values("feature", ignore_index=True)
        if self.summary.empty:
            raise DataError(
                f"no feature fires in any text of {effects.name}, so there is nothing to show; "
                "train the SAE for longer, or on texts like these"
            )
        self.features = self.summary["feature"].to_numpy(np.int64)
        self.texts = ScannedTexts.of(effects)
        self.rows = EffectRows(effects, self.texts, self.features)
        chosen = Examples(self.rows, num_bins=config.num_bins, per_bin=config.per_bin, seed=config.seed)
        self.examples = chosen
        self.words, self.word_of_token = self.texts.words(word_of)
        self.base = np.bincount(self.word_of_token[self.texts.feature_positions], minlength=len(self.words))
        n = len(self.features)
        self.tally = FeatureTally(self.summary["max_activation"].to_numpy(np.float64))
        self.word_tally = WordTally(n, len(self.words))
        lengths = self.texts.lengths
        self.windows = Windows(chosen.feature, chosen.text, chosen.first_position, lengths, n, config.context)
        self._names: dict[int, str] = {}

    def count(self, steps: FiringPass, checkpoint: Path) -> Iterator[int]:
        """Run the pass, from its checkpoint on if there is one; says how many texts are done."""
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        done = load_pass(checkpoint, self.tally, self.word_tally, self.windows)
        yield done
        clock = CheckpointClock()
        for num_texts, batches in steps.firings(done):
            for firings in batches:
                self.tally.add(firings)
                self.word_tally.add(firings)
                self.windows.add(firings)
            if clock.due():
                with clock.saving():
                    save_pass(checkpoint, num_texts, self.tally, self.word_tally, self.windows)
            yield num_texts
        self.word_tally.merge()

    def find_neighbours(self, decoder: Float[Tensor, "feature d_in"]) -> None:
        """Nearest features by direction and by co-firing."""
        kept = texts_to_compare(self.examples.per_text, self.config.seed)
        self.num_compared = int(kept.sum())
        fires = firing_matrix(self.rows.read(), kept, len(self.features))
        n = self.config.num_neighbours
        self.nearest = {"cosine": nearest_decoders(decoder, n), "phi": nearest_cofiring(fires, n)}

    def pages(self) -> Iterator[tuple[int, str]]:
        """Every feature with its page; after `count` and `find_neighbours`."""
        for place, feature in enumerate(self.features.tolist()):
            yield feature, fitted(self._page(place))

    def table(self) -> pd.DataFrame:
        """The summary of the effects with what the pass has added; after `pages`."""
        return self.summary.assign(
            density=self.tally.firings / max(int(self.base.sum()), 1),
            template_share=self.tally.template_share,
            template=self.tally.template_share >= TEMPLATE_SHARE,
            ever_firing=self.summary["text_share"] >= EVER_FIRING_SHARE,
            top_tokens=[self._names[place] for place in range(len(self.features))],
            mean_activation=self.tally.mean_activation,
        )

    def metrics(self, table: pd.DataFrame) -> dict[str, Any]:
        """Figures of the artifact."""
        return {
            "num_features": len(table),
            "num_template": int(np.count_nonzero(table["template"])),
            "num_ever_firing": int(np.count_nonzero(table["ever_firing"])),
            "num_texts": len(self.texts),
            "num_tokens": int(self.base.sum()),
            "num_examples": len(self.examples.feature),
            "num_texts_cofiring": self.num_compared,
        }

    def _page(self, place: int) -> dict[str, Any]:
        tokens = self._tokens(place)
        self._names[place] = joined([record["token"] for record in tokens[:_NUM_NAME_WORDS]])
        effect_edges, effect_counts = self.examples.effect_edges[place], self.examples.effect_counts[place]
        return {
            "feature": int(self.features[place]),
            "examples": self._examples(place),
            "histogram": {"edges": rounded(self.tally.edges(place), 4), "counts": self.tally.histogram[place].tolist()},
            "effect_histogram": {"edges": rounded(effect_edges, 4), "counts": effect_counts.tolist()},
            "tokens": tokens,
            "neighbours": {"decoder": self._neighbours("cosine", place), "cofiring": self._neighbours("phi", place)},
        }

    def _neighbours(self, name: str, place: int) -> list[dict[str, Any]]:
        near, size = self.nearest[name]
        return neighbour_list(near[place], size[place], self.features, name)

    def _tokens(self, place: int) -> list[dict[str, Any]]:
        words, counts, sums = self.word_tally.of(place)
        if not len(words):
            return []
        base = self.base[words]
        scores = log_odds(counts, int(self.tally.firings[place]), base, int(self.base.sum()))
        top = top_words(scores, counts, _NUM_PAGE_WORDS)
        means, shares = rounded(sums[top] / counts[top]), rounded(counts[top] / base[top])
        return [
            {"token": self.words[word], "count": int(count), "mean_activation": mean, "share": share}
            for word, count, mean, share in zip(words[top], counts[top], means, shares, strict=True)
        ]

    def _examples(self, place: int) -> list[dict[str, Any]]:
        chosen = self.examples
        span = chosen.of(place)
        facts = self.texts.facts(chosen.text[span.start : span.stop].tolist())
        return [{**self._firing(i), **about} for i, about in zip(span, facts, strict=True)]

    def _firing(self, example: int) -> dict[str, Any]:
        """The window of one example, and how strong the firing and its effect are."""
        chosen, text, start = self.examples, int(self.examples.text[example]), int(self.windows.starts[example])
        tokens = self.texts.tokens_of(text, start, self.windows.activations.shape[1])
        activation, effect = rounded([chosen.activation[example], chosen.effect[example]], 5)
        return {
            "bin": int(chosen.bin[example]),
            "activation": activation,
            "effect": effect,
            "tokens": tokens,
            "acts": rounded(self.windows.activations[example, : len(tokens)]),
            "start": start,
            "num_tokens": int(self.texts.lengths[text]),
        }
