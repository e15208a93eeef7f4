"""The parts of a Hugging Face sequence classifier, found without knowing its family."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rmviz.errors import ModelError


class FirstTokenHead(nn.Module):
    """An encoder's pooler and classifier as one map, hidden states `(..., d_in)` to rewards `(..., 1)`.

    The family's own modules read position 0 of `(text, position, d_in)`; here every state becomes that position.
    """

    def __init__(self, pooler: nn.Module | None, classifier: nn.Module) -> None:
        super().__init__()
        self.pooler = pooler
        self.classifier = classifier

    def forward(self, hidden: Tensor) -> Tensor:
        """The reward that each state would give at the position that is read."""
        flat = hidden.reshape(-1, 1, hidden.shape[-1])
        return self.classifier(self.pooler(flat) if self.pooler is not None else flat).reshape(*hidden.shape[:-1], 1)


@dataclass(frozen=True)
class Anatomy:
    """Where the parts of a model are. `causal`: the head reads the last token, else the first."""

    base: nn.Module
    blocks: nn.ModuleList
    head: nn.Module
    causal: bool
    d_in: int


def anatomy(model: PreTrainedModel) -> Anatomy:
    """The parts of a sequence classifier.

    Raises:
        ModelError: It has no such parts: an encoder-decoder, or a head that is not known.
    """
    config = model.config.get_text_config()
    base = model.base_model
    if model.config.is_encoder_decoder or base is model:
        raise ModelError(
            f"{type(model).__name__} is not a decoder or an encoder with a head on top; rmviz cannot open it"
        )
    head, causal = _head(model, base)
    return Anatomy(base, _blocks(base, config.num_hidden_layers), head, causal, int(config.hidden_size))


def _blocks(base: nn.Module, num_blocks: int) -> nn.ModuleList:
    lists = [m for m in base.modules() if isinstance(m, nn.ModuleList) and len(m) == num_blocks]
    if not lists:
        raise ModelError(f"{type(base).__name__} has no list of {num_blocks} blocks; rmviz cannot find its hookpoints")
    return max(lists, key=lambda blocks: sum(p.numel() for p in blocks.parameters()))


def _head(model: PreTrainedModel, base: nn.Module) -> tuple[nn.Module, bool]:
    parts = dict(model.named_children())
    if "score" in parts:
        return parts["score"], True
    if "classifier" in parts:
        pooler = parts.get("pooler") or getattr(base, "pooler", None)
        return FirstTokenHead(pooler, parts["classifier"]).eval(), False
    raise ModelError(
        f"{type(model).__name__} has no head called score or classifier, but {', '.join(parts)}; "
        "it is no reward model that rmviz knows"
    )


@torch.no_grad()
def check_anatomy(model: PreTrainedModel, parts: Anatomy) -> None:
    """Run one tiny text, and compare the parts put together with the model's own forward.

    Raises:
        ModelError: The reward is not a number (damaged weights), or the parts do not give the model's own reward.
    """
    pad = model.config.get_text_config().pad_token_id
    ids = torch.tensor([[token for token in range(5) if token != pad][:4]], device=model.device)
    mask = torch.ones_like(ids)
    whole = model(input_ids=ids, attention_mask=mask).logits[0].float().cpu()
    hidden = parts.base(input_ids=ids, attention_mask=mask).last_hidden_state
    ours = parts.head(hidden[:, -1 if parts.causal else 0])[0].float().cpu()
    if not torch.isfinite(whole).all():
        raise ModelError("the model's reward for a plain text is not a number: its weights are damaged; get them again")
    if not torch.allclose(whole, ours, rtol=1e-2, atol=1e-4 if model.dtype == torch.float32 else 1e-1):
        raise ModelError(
            f"{type(model).__name__} does more between its blocks and its reward than rmviz knows; it cannot be opened"
        )
