"""The other architectures, trained by SAELens' own trainer inside rmviz's loop."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from sae_lens import (
    GatedTrainingSAE,
    GatedTrainingSAEConfig,
    JumpReLUTrainingSAE,
    JumpReLUTrainingSAEConfig,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    StandardTrainingSAE,
    StandardTrainingSAEConfig,
)
from sae_lens.config import SAETrainerConfig
from sae_lens.training.sae_trainer import SAETrainer
from torch import Tensor

from rmviz.configs.sae import SAEConfig
from rmviz.sae.files import load_sae
from rmviz.sae.model import SparseAutoencoder
from rmviz.sae.trainer import StepFigures

_SPARSITY_WARM_UP = 20  # the sparsity penalty grows over the first 1/20 of the steps


class SAELensTrainer:
    """A `Trainer` around `sae_lens` for standard, gated, jumprelu and matryoshka_batchtopk SAEs."""

    def __init__(
        self, config: SAEConfig, *, d_in: int, num_steps: int, mean: Float[Tensor, " d_in"], device: torch.device | str = "cpu"
    ) -> None:  # fmt: skip
        """Make the SAE and SAELens' trainer; weights are drawn from `config.seed` and nothing else."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self._sae = _training_sae(config, d_in, num_steps // _SPARSITY_WARM_UP)
        self._sae.b_dec.data.copy_(mean)
        self._sae.to(str(device))
        settings = SAETrainerConfig(
            total_training_samples=num_steps * config.batch_size, train_batch_size_samples=config.batch_size, lr=config.learning_rate,
            lr_end=config.learning_rate / 10, device=str(device), dead_feature_window=max(1, config.dead_after // config.batch_size),
            feature_sampling_window=2 * num_steps + 2,
        )  # fmt: skip
        self._trainer: SAETrainer[Any, Any] = SAETrainer(cfg=settings, sae=self._sae, data_provider=iter(()))

    def step(self, x: Float[Tensor, "row d_in"], learning_rate: float) -> StepFigures:
        """One step of SAELens' trainer, at our learning rate."""
        self._trainer.optimizer.param_groups[0]["lr"] = learning_rate
        with torch.enable_grad():
            output = self._trainer.step(x)
        self._trainer.n_training_steps += 1
        error = (output.sae_out - output.sae_in).detach()
        return StepFigures(output.loss.detach(), error.square().sum(), (output.feature_acts.detach() > 0).sum().float())

    def dead(self) -> Bool[Tensor, " d_sae"]:
        """Features silent for longer than allowed."""
        return self._trainer.dead_neurons

    def state(self) -> dict[str, Tensor]:
        """Weights, buffers, Adam's moments, silences and step counts."""
        trainer = self._trainer
        state = {f"sae.{name}": value for name, value in self._sae.state_dict().items()}
        for number, parameter in enumerate(self._sae.parameters()):
            state |= {f"adam.{number}.{name}": value for name, value in trainer.optimizer.state[parameter].items()}
        counts = [trainer.n_training_steps, trainer.n_training_samples, trainer.n_frac_active_samples]
        return state | {
            "silent_for": trainer.n_forward_passes_since_fired, "frequency": trainer.act_freq_scores, "counts": torch.tensor(counts)
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state()`."""
        trainer = self._trainer
        self._sae.load_state_dict({name[4:]: value for name, value in state.items() if name.startswith("sae.")})
        for number, parameter in enumerate(self._sae.parameters()):
            names = [name for name in state if name.startswith(f"adam.{number}.")]
            trainer.optimizer.state[parameter] = {
                name.split(".")[2]: state[name].clone().to(parameter.device) for name in names
            }
        trainer.n_forward_passes_since_fired.copy_(state["silent_for"])
        trainer.act_freq_scores.copy_(state["frequency"])
        trainer.n_training_steps, trainer.n_training_samples, trainer.n_frac_active_samples = state["counts"].tolist()
        for scheduler in trainer.coefficient_schedulers.values():
            scheduler.load_state_dict({"current_step": trainer.n_training_steps})

    def result(self) -> SparseAutoencoder:
        """The SAE in its inference form, as SAELens writes it."""
        with tempfile.TemporaryDirectory() as folder:
            self._sae.save_inference_model(folder)
            return load_sae(Path(folder))


def _training_sae(config: SAEConfig, d_in: int, warm_up_steps: int) -> Any:
    sparsity = config.l1_coefficient
    settings: Any
    match config.architecture:
        case "standard":
            settings = StandardTrainingSAEConfig(
                d_in, config.d_sae, l1_coefficient=sparsity, l1_warm_up_steps=warm_up_steps
            )
            return StandardTrainingSAE(settings)
        case "gated":
            settings = GatedTrainingSAEConfig(
                d_in, config.d_sae, l1_coefficient=sparsity, l1_warm_up_steps=warm_up_steps
            )
            return GatedTrainingSAE(settings)
        case "jumprelu":
            settings = JumpReLUTrainingSAEConfig(
                d_in, config.d_sae, l0_coefficient=sparsity, l0_warm_up_steps=warm_up_steps
            )
            return JumpReLUTrainingSAE(settings)
    settings = MatryoshkaBatchTopKTrainingSAEConfig(
        d_in, config.d_sae, k=config.k, aux_loss_coefficient=config.aux_coefficient,
        matryoshka_widths=matryoshka_widths(config.d_sae),
    )  # fmt: skip
    return MatryoshkaBatchTopKTrainingSAE(settings)


def matryoshka_widths(d_sae: int) -> list[int]:
    """Nested widths: a sixteenth, a quarter and all of the features."""
    return sorted({max(1, d_sae // 16), max(1, d_sae // 4), d_sae})
