"""Reward models whose head is not the one that transformers knows: where their head lies, and what they read."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """How to load one kind of custom head into the family's own sequence classifier.

    The trunk must have the tensor names of the family's models in transformers; the head is one linear map.
    """

    name: str
    architectures: tuple[str, ...]
    """Class names in `config.json` that call for this adapter; none means that the tensor names alone decide."""

    head: str
    """Name of the head's tensors in the checkpoint, without `.weight` and `.bias`."""

    reads_last: bool = True
    """The head reads the last token that is not masked, even if it is the padding token."""

    no_blank_start: bool = False
    """Transcripts start with `Human:` rather than with the two newlines before it."""


ADAPTERS: tuple[Adapter, ...] = (
    # UltraRM-13b: a Llama trunk under `model.`, `regression_head` without bias, read where the attention mask ends;
    # texts are "Human: {instruction}\n\nAssistant: {completion}". Source: the class and the template that its model
    # card (openbmb/UltraRM-13b) prints. Eurus-RM-7b is the same with a Mistral trunk.
    Adapter(
        name="ultrarm",
        architectures=("LlamaRewardModel", "EurusRewardModel"),
        head="regression_head",
        no_blank_start=True,
    ),
    # Dahoas/gptj-rm-static and others of trlx: `v_head` without bias over a trunk under `transformer.` or `gpt_neox.`.
    # Source: trlx, examples/summarize_rlhf/reward_model/reward_model.py.
    Adapter(name="v_head", architectures=("GPTRewardModel",), head="v_head"),
    # TRL's AutoModelForCausalLMWithValueHead, and LLaMA-Factory, which keeps the head in value_head.safetensors; it
    # has a bias.
    Adapter(name="value_head", architectures=(), head="v_head.summary"),
)
"""The GPT-J reward model of Riggs & Brinkmann (reciprocate/dahoas-gptj-rm-static) needs no adapter: CarperAI's autocrit
trained it, and both its README and loganriggs/sae-rm load it as a plain `AutoModelForSequenceClassification` (GPT-J,
`score` without bias, the padding rule of the family). Its format, a transcript, is guessed from its name. Its hookpoint
`transformer.h.L` is our `layers.L`."""

HEADS = ("score", "classifier", "classifier.out_proj")
"""Heads of the sequence classifiers in transformers."""


def find_adapter(config: Mapping[str, Any], tensors: Collection[str]) -> Adapter | None:
    """The adapter for a checkpoint, by its class name or by the tensors in it; None for a plain classifier."""
    architectures = config.get("architectures") or []
    for adapter in ADAPTERS:
        if f"{adapter.head}.weight" in tensors:
            return adapter
        if any(name in adapter.architectures for name in architectures):
            return adapter
    return None
