"""Our TopK step against other trainers on the same activations: CPU time of one thread, interleaved rounds, medians.

Everyone trains plain TopK (no dead features yet, so AuxK costs nobody anything) on the same batches of planted
activations, and is measured on held-out rows after the same number of rows. How the others are run, all through their
public classes:

- SAELens: `SAETrainer.step` on a default `TopKTrainingSAE`.
- sparsify: its Trainer takes tokens, so the inner step of `Trainer.fit` is made again around its `SparseCoder`: unit-norm
  decoder, FVU loss, parallel gradients removed, schedule-free signum at its automatic learning rate.
- dictionary_learning: `TopKTrainer.update`.

SAELens and dictionary_learning run at 1e-3 without warm-up, more than their defaults, since the runs are short.
"""

import contextlib
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rmviz.configs.sae import SAEConfig
from rmviz.sae.train import learning_rate
from rmviz.sae.trainer import TopKTrainer

CASES = ((4096, 24), (16384, 6))
"""Number of features, and steps per round."""

_DATA_SEED, _MODEL_SEED = 1_000_003, 7
_NUM_DIRECTIONS, _ACTIVE, _NOISE = 2048, 16, 0.05
_HELD_OUT = 8192
_LR = 1e-3
RIVALS = ("sae_lens", "sparsify", "dictionary_learning")


@dataclass
class Contestant:
    """A trainer under test."""

    step: Callable[[Tensor], object]
    reconstruction: Callable[[Tensor], Tensor]
    W_dec: Callable[[], Tensor]
    """Decoder rows (d_sae, d_in)."""


def run_bench(
    *,
    num_rounds: int = 3,
    cases: Sequence[tuple[int, int]] = CASES,
    d_in: int = 384,
    k: int = 32,
    batch_size: int = 4096,
) -> dict[str, Any]:
    """Rows per second of CPU time and FVU after equal rows, for each number of features.

    Args:
        num_rounds: Interleaved rounds; the median of their rates is reported.
        cases: `(d_sae, steps per round)`.
        d_in: Width of the activations.
        k: Active features per row.
        batch_size: Rows per step.

    Returns:
        `{"cases": [{d_sae, rows_per_second: {name: …}, fvu: {name: …}, …}]}`; null for a trainer that is not installed.
        `ours` looks for candidates in bfloat16 where the machine is quick at it, `ours_float32` never does;
        `encoder_matmul` is the encoder's product alone, in float32.
    """
    with _one_thread():
        results = [_case(d_sae, num_rounds, steps, d_in, k, batch_size) for d_sae, steps in cases]
    return {
        "cases": results,
        "clock": "CPU time of one thread",
        "num_rounds": num_rounds,
        "batch_size": batch_size,
        "d_in": d_in,
        "k": k,
    }


def planted_activations(
    num_rows: int, d_in: int, seed: int = _DATA_SEED
) -> tuple[Float[Tensor, "row d_in"], Float[Tensor, "direction d_in"]]:
    """Rows that are sums of a few of many planted directions (Zipf frequencies) and noise, and the directions."""
    generator = torch.Generator().manual_seed(seed)
    directions = F.normalize(torch.randn(_NUM_DIRECTIONS, d_in, generator=generator), dim=1)
    frequency = 1 / torch.arange(1.0, _NUM_DIRECTIONS + 1)
    chosen = torch.multinomial(frequency, num_rows * _ACTIVE, replacement=True, generator=generator).view(
        num_rows, _ACTIVE
    )
    strength = torch.rand(num_rows, _ACTIVE, generator=generator) + 0.5
    rows = F.embedding_bag(chosen, directions, per_sample_weights=strength, mode="sum")
    return rows.add_(torch.randn(num_rows, d_in, generator=generator), alpha=_NOISE), directions


def _case(d_sae: int, num_rounds: int, steps: int, d_in: int, k: int, batch_size: int) -> dict[str, Any]:
    total = num_rounds * steps
    x, directions = planted_activations(total * batch_size + _HELD_OUT, d_in)
    held_out, batches = x[:_HELD_OUT], x[_HELD_OUT:].split(batch_size)
    made = {name: make(batches[0], d_sae, k, total) for name, make in _MAKERS.items()}
    present = {name: contestant for name, contestant in made.items() if contestant is not None}
    with torch.no_grad():
        luck = max(float((F.normalize(one.W_dec(), dim=1) @ directions.T).max()) for one in present.values())
    assert luck < 0.6, (
        f"an initial decoder row has cosine {luck:.2f} with a planted direction: data and weights share a seed"
    )
    matmul = _encoder_matmul(d_in, d_sae)
    seconds: dict[str, list[float]] = {name: [] for name in (*present, "encoder_matmul")}
    for start in range(0, total, steps):
        for name, step in {**{name: one.step for name, one in present.items()}, "encoder_matmul": matmul}.items():
            begin = time.process_time()
            for batch in batches[start : start + steps]:
                step(batch)
            seconds[name].append((time.process_time() - begin) / steps)
    rates = {name: batch_size / statistics.median(times) for name, times in seconds.items()}
    return {
        "d_sae": d_sae, "num_rows": total * batch_size, "max_initial_cosine": luck,
        "rows_per_second": {name: rates.get(name) for name in (*_MAKERS, "encoder_matmul")},
        "fvu": {name: _fvu(made[name], held_out) for name in _MAKERS},
        "ratio": {name: rates["ours"] / rates[name] for name in (*RIVALS, "encoder_matmul") if name in rates},
    }  # fmt: skip


def _fvu(one: Contestant | None, x: Tensor) -> float | None:
    if one is None:
        return None
    with torch.no_grad():
        return float((x - one.reconstruction(x)).square().sum() / (x - x.mean(0)).square().sum())


def _encoder_matmul(d_in: int, d_sae: int) -> Callable[[Tensor], Tensor]:
    W_enc, b_enc = torch.randn(d_in, d_sae) / d_in**0.5, torch.zeros(d_sae)
    return lambda x: torch.addmm(b_enc, x, W_enc)


def _ours(first: Tensor, d_sae: int, k: int, num_steps: int, *, bfloat16: bool | None = None) -> Contestant:
    defaults = SAEConfig(model="", dataset="")
    trainer = TopKTrainer(
        d_in=first.shape[1], d_sae=d_sae, k=k, mean=first.mean(0), dead_after=10**9, aux_coefficient=defaults.aux_coefficient,
        seed=_MODEL_SEED, bfloat16=bfloat16,
    )  # fmt: skip
    steps = iter(range(num_steps))

    def reconstruction(x: Tensor) -> Tensor:
        sae = trainer.result()
        return sae.decode(sae.encode(x))

    def step(x: Tensor) -> None:
        trainer.step(x, learning_rate(defaults.learning_rate, next(steps), num_steps))

    return Contestant(step, reconstruction, lambda: trainer.weights.W_dec)


def _ours_float32(first: Tensor, d_sae: int, k: int, num_steps: int) -> Contestant:
    return _ours(first, d_sae, k, num_steps, bfloat16=False)


def _sae_lens(first: Tensor, d_sae: int, k: int, num_steps: int) -> Contestant:
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(_MODEL_SEED)
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=first.shape[1], d_sae=d_sae, k=k))
    settings = SAETrainerConfig(
        total_training_samples=num_steps * len(first),
        train_batch_size_samples=len(first),
        lr=_LR,
        lr_end=_LR,
        dead_feature_window=10**9,
    )
    trainer: SAETrainer[Any, Any] = SAETrainer(cfg=settings, sae=sae, data_provider=iter(()))
    return Contestant(trainer.step, sae, lambda: sae.W_dec)


def _sparsify(first: Tensor, d_sae: int, k: int, num_steps: int) -> Contestant | None:
    coder = _module("sparsify.sparse_coder")
    if coder is None:
        return None
    from schedulefree import ScheduleFreeWrapper  # type: ignore[import-not-found]

    torch.manual_seed(_MODEL_SEED)
    settings = _module("sparsify.config").SparseCoderConfig(num_latents=d_sae, k=k)
    sae = coder.SparseCoder(first.shape[1], settings, dtype=torch.float32)
    sae.b_dec.data = first.mean(0)
    rate = 5e-3 / (d_sae / 2**14) ** 0.5
    optimizer = ScheduleFreeWrapper(_module("sparsify.sign_sgd").SignSGD(sae.parameters(), lr=rate), momentum=0.95)
    optimizer.train()

    def step(x: Tensor) -> None:
        sae.set_decoder_norm_to_unit_norm()
        sae(x).fvu.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()

    def reconstruction(x: Tensor) -> Tensor:
        optimizer.eval()
        out = sae(x).sae_out
        optimizer.train()
        return out

    return Contestant(step, reconstruction, lambda: sae.W_dec)


def _dictionary_learning(first: Tensor, d_sae: int, k: int, num_steps: int) -> Contestant | None:
    module = _module("dictionary_learning.trainers.top_k")
    if module is None:
        return None
    trainer = module.TopKTrainer(
        steps=num_steps, activation_dim=first.shape[1], dict_size=d_sae, k=k, layer=0, lm_name="planted", lr=_LR, warmup_steps=0,
        seed=_MODEL_SEED, device="cpu",
    )  # fmt: skip
    steps = iter(range(num_steps))
    return Contestant(lambda x: trainer.update(next(steps), x), trainer.ae, lambda: trainer.ae.decoder.weight.T)


_MAKERS: dict[str, Callable[[Tensor, int, int, int], Contestant | None]] = {
    "ours": _ours,
    "ours_float32": _ours_float32,
    "sae_lens": _sae_lens,
    "sparsify": _sparsify,
    "dictionary_learning": _dictionary_learning,
}


def _module(name: str) -> Any:
    """A module of a rival, or None where it (or what it needs) is not installed; what it prints goes to standard error."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ImportError:
        return None


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
