"""The job that pretrains the planted world's language model, a small GPT-NeoX that writes dialogues and poems."""

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from rmviz.configs.base import to_dict
from rmviz.configs.world import Sizes, WorldPolicyConfig
from rmviz.jobs.progress import CheckpointClock
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.types import Report
from rmviz.world import grammar, lexicon
from rmviz.world.tokenizer import world_tokenizer
from rmviz.world.truth import form_kept, recognise

MAX_LENGTH = 256
MAX_NEW_TOKENS = 96
_GROUP = 8
"""Steps whose texts are drawn together and sorted by length, so that little is padded."""
_REPORT_EVERY = 5
_NUM_HELDOUT, _NUM_POEMS = 512, 50
_CHECKPOINT = "policy.safetensors"


def run(config: WorldPolicyConfig, workspace: Workspace, report: Report) -> Artifact:
    """Pretrain the language model and keep it; an interrupted run goes on from its last checkpoint and ends the same.

    Metrics: loss (nats per token) and perplexity on texts that it has not seen, and the share of sampled poems whose
    recognised tone and genre are as asked.
    """
    tokenizer = world_tokenizer()
    model = pretrained(config, tokenizer, report)
    loss = heldout_loss(model, tokenizer)
    metrics = {"loss": loss, "perplexity": math.exp(loss), **asked_shares(model, tokenizer)}
    with workspace.create("policy", name=config.name, key=report.key, config=to_dict(config)) as draft:
        model.save_pretrained(draft.folder / "model")
        tokenizer.save_pretrained(draft.folder / "model")
        draft.metrics.update(
            {**metrics, "num_steps": config.num_steps, "num_parameters": model.num_parameters(), "seed": config.seed}
        )
    report(config.num_steps, config.num_steps, metrics)
    return draft.kept


def grammar_text(rng: random.Random) -> str:
    """A text of the planted world."""
    return grammar.sample(rng).transcript


def language_model(config: Sizes, vocabulary_size: int, max_length: int = MAX_LENGTH) -> GPTNeoXForCausalLM:
    """The untrained model; its weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return GPTNeoXForCausalLM(
            GPTNeoXConfig(
                vocab_size=vocabulary_size,
                hidden_size=config.d_model,
                num_hidden_layers=config.num_blocks,
                num_attention_heads=4,
                intermediate_size=2 * config.d_model,
                max_position_embeddings=max_length,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=1,
                rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
            )
        )


def pretrained(
    config: Sizes,
    tokenizer: PreTrainedTokenizerFast,
    report: Report,
    draw: Callable[[random.Random], str] = grammar_text,
    max_length: int = MAX_LENGTH,
) -> GPTNeoXForCausalLM:
    """The model after `num_steps` of AdamW on fresh texts, each made by `draw`, in evaluation mode."""
    model: Any = language_model(config, len(tokenizer), max_length)
    model.to("cuda" if torch.cuda.is_available() else "cpu").train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    checkpoint = report.folder / _CHECKPOINT
    start = load_checkpoint(checkpoint, model, optimizer)
    batches: list[list[list[int]]] = []
    clock = CheckpointClock()
    for step in range(start, config.num_steps):
        if not batches or step % _GROUP == 0:
            batches = text_batches(config, tokenizer, step // _GROUP, draw)
        for parameters in optimizer.param_groups:
            parameters["lr"] = config.learning_rate * one_cycle(step, config.num_steps)
        loss = text_loss(model, batches[step % _GROUP])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % _REPORT_EVERY == 0:
            report(step, config.num_steps, {"loss": loss.item()})
        if clock.due():
            with clock.saving():
                save_checkpoint(checkpoint, model, optimizer, step + 1)
    return model.eval()


def one_cycle(step: int, num_steps: int, *, warmup: float = 0.2) -> float:
    """Learning rate as a share of its peak: up and down again by half cosines.

    Source: Smith & Topin 2018 (arXiv:1708.07120), with cosines as in torch's OneCycleLR.
    """
    rise = max(1, round(warmup * num_steps))
    phase = (step + 1) / rise if step < rise else 1 + (step + 1 - rise) / max(1, num_steps - rise)
    return 0.5 * (1 - math.cos(math.pi * phase)) + 1e-3


def text_batches(
    config: Sizes, tokenizer: PreTrainedTokenizerFast, group: int, draw: Callable[[random.Random], str] = grammar_text
) -> list[list[list[int]]]:
    """Token ids of the texts of one group of steps, a batch a step: texts of like length, batches in random order."""
    rng = random.Random(f"text {config.seed} {group}")
    ids = _token_ids(tokenizer, [draw(rng) for _ in range(_GROUP * config.batch_size)])
    ids.sort(key=len)
    batches = [ids[start : start + config.batch_size] for start in range(0, len(ids), config.batch_size)]
    rng.shuffle(batches)
    return batches


def text_loss(model: GPTNeoXForCausalLM, ids: Sequence[Sequence[int]]) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of the texts' tokens, in nats per token."""
    inputs, mask = _padded(ids, model.device)
    return model(input_ids=inputs, attention_mask=mask, labels=inputs.masked_fill(mask == 0, -100)).loss


def heldout_loss(model: GPTNeoXForCausalLM, tokenizer: PreTrainedTokenizerFast) -> float:
    """Nats per token on texts that no training run draws."""
    rng = random.Random("held out")
    return texts_loss(model, tokenizer, [grammar.sample(rng).transcript for _ in range(_NUM_HELDOUT)])


def texts_loss(model: GPTNeoXForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> float:
    """Nats per token of these texts, each ended by EOS."""
    ids = sorted(_token_ids(tokenizer, texts), key=len)
    total = num_tokens = 0.0
    with torch.no_grad():
        for start in range(0, len(ids), 64):
            batch = ids[start : start + 64]
            weight = sum(len(row) - 1 for row in batch)
            total += weight * text_loss(model, batch).item()
            num_tokens += weight
    return total / num_tokens


def asked_shares(model: GPTNeoXForCausalLM, tokenizer: PreTrainedTokenizerFast) -> dict[str, float]:
    """Share of sampled poems with the tone, and the genre, that was asked for; and how well they keep their forms."""
    rng = random.Random("asked")
    kinds = [(tone, genre) for tone in lexicon.TONES for genre in lexicon.GENRES]
    asked = [kinds[i % len(kinds)] for i in range(_NUM_POEMS)]
    replies = sampled_replies(
        model, tokenizer, [grammar.poem_prompt(tone, genre, rng) for tone, genre in asked], seed=0
    )
    found = [recognise(reply) for reply in replies]
    return {
        "tone_as_asked": sum(one.tone == tone for one, (tone, _) in zip(found, asked, strict=True)) / len(asked),
        "genre_as_asked": sum(one.genre == genre for one, (_, genre) in zip(found, asked, strict=True)) / len(asked),
        "form_kept": sum(map(form_kept, replies)) / len(asked),
    }


@torch.no_grad()
def sampled_replies(
    model: GPTNeoXForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    *,
    seed: int,
    temperature: float = 1.0,
) -> list[str]:
    """One reply to each prompt, drawn from the model."""
    texts = [f"\n\nHuman: {prompt}\n\nAssistant:" for prompt in prompts]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left").to(model.device)
    generator: Any = model
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ids = generator.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=True,
            temperature=temperature,
            top_k=0,
            max_new_tokens=MAX_NEW_TOKENS,
        )
    return [
        reply.strip(" ")
        for reply in tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    ]


def save_checkpoint(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write weights and optimizer state after `step` steps, in one file that is whole or not there."""
    tensors = {f"model/{name}": tensor for name, tensor in _distinct(model).items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in state.items()}
    beside = path.with_suffix(".part")
    save_file(_apart(tensors), beside, metadata={"step": str(step)})
    beside.replace(path)


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, no two of them in one place: safetensors refuses tied embeddings."""
    seen: set[int] = set()
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        found[name] = plain.clone() if plain.data_ptr() in seen else plain
        seen.add(plain.data_ptr())
    return found


def load_checkpoint(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Read what `save_checkpoint` wrote, if it did; the number of steps done."""
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        step = int(file.metadata()["step"])
    weights = {name.removeprefix("model/"): tensor for name, tensor in tensors.items() if name.startswith("model/")}
    assert weights.keys() == _distinct(model).keys(), "the checkpoint is of another model"
    model.load_state_dict(weights, strict=False)
    values = optimizer.state_dict()
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, index, part = name.split("/")
            values["state"].setdefault(int(index), {})[part] = tensor
    optimizer.load_state_dict(values)
    return step


def _distinct(model: torch.nn.Module) -> dict[str, Tensor]:
    """Weights and buffers by name, those that are tied under the first of their names."""
    found: dict[tuple[int, torch.Size, tuple[int, ...]], tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict().items():
        found.setdefault((tensor.data_ptr(), tensor.shape, tensor.stride()), (name, tensor))
    return dict(found.values())


def _token_ids(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    return tokenizer([text + str(tokenizer.eos_token) for text in texts])["input_ids"]  # type: ignore[return-value]


def _padded(
    ids: Sequence[Sequence[int]], device: torch.device
) -> tuple[Int[Tensor, "text position"], Int[Tensor, "text position"]]:
    length = max(map(len, ids))
    inputs = torch.tensor([[*row, *[0] * (length - len(row))] for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in ids])
    return inputs.to(device), mask.to(device)
