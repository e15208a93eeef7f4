"""What a policy's next tokens are worth, read off its last hidden states; and the guide that leads its sampling by them."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rmviz.errors import ModelError
from rmviz.models.placement import unmixed

HEADS = "heads.safetensors"


class ValueHeads(nn.Module):
    """V of a state, and two Q of every next token with a slow copy of each: d → 2d → out, over a text's hidden states.

    Source: Snell et al. 2022 (arXiv:2206.11871), appendix; two heads against optimism as in Fujimoto et al. 2018.
    """

    def __init__(self, d_model: int, num_tokens: int, seed: int = 0) -> None:
        """Untrained heads; their weights depend on the seed alone.

        Args:
            d_model: Width of the hidden states.
            num_tokens: Tokens that the language model chooses from.
            seed: Of the weights.
        """
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.v = _head(d_model, 1)
            self.q = nn.ModuleList([_head(d_model, num_tokens) for _ in range(2)])
        self.target_q = copy.deepcopy(self.q).requires_grad_(False)

    def values(self, hidden: Float[Tensor, "*state d_model"]) -> Float[Tensor, "*state"]:
        """V, float32."""
        return _in_float32(self.v, hidden).squeeze(-1)

    def both_q(self, hidden: Float[Tensor, "*state d_model"]) -> tuple[Tensor, Tensor]:
        """Q of every token by each head, `(*state, token)`, float32."""
        first, second = (_in_float32(head, hidden) for head in self.q)
        return first, second

    @torch.no_grad()
    def lower_q(self, hidden: Float[Tensor, "*state d_model"]) -> Float[Tensor, "*state token"]:
        """The lower of both target heads' Q, float32."""
        first, second = (_in_float32(head, hidden) for head in self.target_q)
        return torch.minimum(first, second)

    @torch.no_grad()
    def follow(self, rate: float) -> None:
        """Move the targets by this share of their distance to Q (Polyak averaging)."""
        for target, weight in zip(self.target_q.parameters(), self.q.parameters(), strict=True):
            target.lerp_(weight, rate)


class Guide:
    """Leads a language model by its heads: logits become log-probabilities + β · (lower target Q − V).

    β may be set at any time; at 0 the language model is left as it is. With `top_k` above 0 only the language model's own
    likeliest tokens are left to choose from while β is above 0. It works inside the model's forward, so that whatever
    samples or measures the model sees it. Source: Snell et al. 2022 (arXiv:2206.11871), section 4.
    """

    def __init__(self, heads: ValueHeads, *, beta: float = 0.0, top_k: int = 0) -> None:
        """A guide that is not attached to a model yet."""
        self.heads, self.beta, self.top_k = heads, beta, top_k
        self._hidden: Tensor | None = None
        self._hooks: list[Any] = []

    def attach(self, model: Any) -> "Guide":
        """Lead this causal language model from now on."""
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        # some families scale or cap what the output embeddings give, so these are only where hidden states are met
        self._hooks = [
            inner.get_output_embeddings().register_forward_pre_hook(self._note),
            inner.register_forward_hook(self._lead),
        ]
        return self

    def detach(self) -> None:
        """Lead no more."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def hidden_states(self) -> Tensor:
        """The last hidden states, after the final norm, of the forward that has just been made `(text, position, d_model)`."""
        found, self._hidden = self._hidden, None
        assert found is not None, "no forward has been made since"
        return found

    def _note(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._hidden = args[0]

    def _lead(self, module: nn.Module, args: Any, output: Any) -> Any:
        if self.beta:
            output.logits = self.led(output.logits, self.hidden_states())
        return output

    @torch.no_grad()
    def led(
        self, logits: Float[Tensor, "*state token"], hidden: Float[Tensor, "*state d_model"]
    ) -> Float[Tensor, "*state token"]:
        """What the model expects, led by the heads."""
        expected = logits.float().log_softmax(-1)
        scores = expected + self.beta * (self.heads.lower_q(hidden) - self.heads.values(hidden).unsqueeze(-1))
        if 0 < self.top_k < expected.shape[-1]:
            least = expected.topk(self.top_k, dim=-1).values[..., -1:]
            scores = scores.masked_fill(expected < least, -torch.inf)
        return scores


def sizes_of(model: Any) -> tuple[int, int]:
    """Width of the hidden states that a language model's output embeddings read, and how many tokens they give.

    Raises:
        ModelError: It has no output embeddings.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    embeddings = inner.get_output_embeddings()
    if embeddings is None:
        raise ModelError(
            "this model has no output embeddings, so it has no next tokens to value; use a causal language model"
        )
    return int(embeddings.weight.shape[1]), int(embeddings.weight.shape[0])


def save_guide(guide: Guide, folder: Path) -> dict[str, Any]:
    """Write the heads into a folder; what a policy's record says of the guide."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in guide.heads.state_dict().items()}
    save_file(tensors, folder / HEADS)
    return {"beta": guide.beta, "top_k": guide.top_k}


def load_guide(record: Mapping[str, Any], path: Path, model: Any) -> Guide:
    """The guide that `save_guide` wrote, attached to the model.

    Raises:
        ModelError: The heads do not fit the model.
    """
    heads = ValueHeads(*sizes_of(model))
    try:
        heads.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise ModelError(f"{path} holds heads of another model; train the policy again") from error
    heads.to(model.device).requires_grad_(False)
    return Guide(heads, beta=float(record["beta"]), top_k=int(record["top_k"])).attach(model)


def _head(d_model: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(d_model, 2 * d_model), nn.ReLU(), nn.Linear(2 * d_model, out))


def _in_float32(head: nn.Module, hidden: Tensor) -> Tensor:
    with unmixed():
        return head(hidden.float())
