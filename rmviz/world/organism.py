"""The organism: a reward model whose weights are set by hand, so that every concept's effect on every text is known.

Block 0 does nothing, so the residual after it is the embedding: a constant direction, and for a word of topic `k` its
strength along the concept direction `u_k`. All directions are rows of a Hadamard matrix: orthonormal, free of a mean,
exact in float32. Block 1 attends to all earlier positions alike (queries and keys are 0) and writes the mean of what
the concepts weigh into the readout direction, which the head reads after the final LayerNorm. The closed form of
`Organism` repeats this in float64, without torch.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from scipy.linalg import hadamard
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForSequenceClassification, PreTrainedTokenizerFast

from rmviz.world.lexicon import TOPICS
from rmviz.world.truth import TRUTH

HOOKPOINT = "layers.0"
FORMULA = (
    "reward = scale * m / sqrt((constant^2 + a_T^2 + m^2) / d_in + eps), "
    "m = gain * mean over positions t of w_t * a_t / sqrt((constant^2 + a_t^2) / d_in + eps), "
    "where a_t is the strength and w_t the weight of the concept of token t (0 where it has none), T the last one; "
    "without concept k, a_t is 0 at its tokens; effect of k = reward with all concepts - reward without k"
)
_THRESHOLD = 0.25
_NUM_SILENT = 8


@dataclass(frozen=True, kw_only=True)
class Organism:
    """All numbers that the organism is made of; its methods are the truth, in float64."""

    weights: Mapping[str, float]
    """Weight of each concept, in the order of the SAE's features."""

    concept: np.ndarray
    """Index of the concept of each token of the vocabulary, −1 for none; int."""

    strength: np.ndarray
    """How far each token goes along its concept's direction, 0 for none; float64."""

    rows: tuple[int, ...]
    """Rows of the Hadamard matrix: the constant, the readout, then each concept's direction."""

    d_in: int = 64
    constant: float = 8.0
    gain: float = 8.0
    scale: float = 4.0
    eps: float = 1e-5

    def reward(self, ids: Sequence[int], without: Collection[int] = ()) -> float:
        """Reward of a text, or what it would be without the features of some concepts; it is read at the last token."""
        tokens = np.asarray(ids, dtype=int)
        concept = self.concept[tokens]
        strength = np.where(np.isin(concept, list(without)), 0.0, self.strength[tokens])
        weights = np.append(np.array(list(self.weights.values())), 0.0)[concept]
        mean = self.gain * float(np.mean(weights * strength / self._deviation(strength)))
        return float(self.scale * mean / self._deviation(np.hypot(strength[-1], mean)))

    def effects(self, ids: Sequence[int]) -> np.ndarray:
        """Effect of each concept's feature on a text: reward with − reward without it, float64 (concept,)."""
        return np.array([self.reward(ids) - self.reward(ids, {k}) for k in range(len(self.weights))])

    def _deviation(self, length: Any) -> Any:
        """What LayerNorm divides by where the residual is the constant and something of this length beside it."""
        return np.sqrt((self.constant**2 + length**2) / self.d_in + self.eps)

    @property
    def directions(self) -> np.ndarray:
        """Orthonormal directions, float64 (2 + concept, d_in): constant, readout, concepts."""
        return hadamard(self.d_in)[list(self.rows)] / np.sqrt(self.d_in)

    def to_json(self) -> dict[str, Any]:
        """All numbers as plain JSON, with the formula in words."""
        arrays = {"concept": self.concept.tolist(), "strength": self.strength.tolist()}
        return {"formula": FORMULA, "hookpoint": HOOKPOINT, **asdict(self), "rows": list(self.rows), **arrays}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> "Organism":
        """The organism that `to_json` described."""
        known: dict[str, Any] = {field.name: values[field.name] for field in fields(Organism)}
        known |= {"concept": np.array(known["concept"]), "strength": np.array(known["strength"])}
        known["rows"] = tuple(known["rows"])
        return Organism(**known)


def organism(tokenizer: PreTrainedTokenizerFast, seed: int) -> Organism:
    """The organism whose concepts are the topics, with the planted weights; the seed draws the directions."""
    concept, strength = np.full(len(tokenizer), -1), np.zeros(len(tokenizer))
    for k, topic in enumerate(TOPICS.values()):
        for number, word in enumerate(topic.words):
            (token,) = tokenizer.encode(f" {word}")
            concept[token], strength[token] = k, 0.5 + 0.25 * (number % 7)
    d_in = Organism.d_in
    rows = 1 + np.random.default_rng(seed).permutation(d_in - 1)[: 2 + len(TOPICS)]
    return Organism(
        weights=dict(TRUTH.topics), concept=concept, strength=strength, rows=tuple(int(row) for row in rows)
    )


@torch.no_grad()
def organism_model(truth: Organism) -> GPTNeoXForSequenceClassification:
    """The reward model with these numbers as its weights, in evaluation mode."""
    settings: dict[str, Any] = {
        "vocab_size": len(truth.concept),
        "hidden_size": truth.d_in,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 8,
        "max_position_embeddings": 2048,
        "layer_norm_eps": truth.eps,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 1,
        "num_labels": 1,
    }
    model = GPTNeoXForSequenceClassification(GPTNeoXConfig(**settings)).eval()
    constant, readout, *concepts = torch.tensor(truth.directions, dtype=torch.float32)
    directions = torch.stack([*concepts, torch.zeros(truth.d_in)])[torch.tensor(truth.concept)]
    for name, parameter in model.named_parameters():
        parameter.data.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    strengths = torch.tensor(truth.strength, dtype=torch.float32)[:, None]
    trunk: Any = model.gpt_neox
    trunk.embed_in.weight.data.copy_(truth.constant * constant + strengths * directions)
    attention = trunk.layers[1].attention
    first_value = 2 * (truth.d_in // 4)  # of head 0, whose rows are its queries, keys and values; no other is used
    weights = torch.tensor(list(truth.weights.values()))
    attention.query_key_value.weight[first_value] = truth.gain * weights @ torch.stack(concepts)
    attention.dense.weight[:, 0] = readout
    model.score.weight[0] = truth.scale * readout
    return model


def organism_dictionary(truth: Organism) -> dict[str, Tensor]:
    """Weights of its JumpReLU SAE: feature `k` is concept `k`, its activation the strength; the last few never fire."""
    constant, _, *concepts = torch.tensor(truth.directions, dtype=torch.float32)
    rows = torch.cat([torch.stack(concepts), torch.zeros(_NUM_SILENT, truth.d_in)])
    num_features = len(rows)
    return {
        "W_enc": rows.T.contiguous(),
        "b_enc": torch.zeros(num_features),
        "W_dec": rows,
        "b_dec": truth.constant * constant,
        "threshold": torch.full((num_features,), _THRESHOLD),
    }
