"""The one place where TRL is imported: its trainers, without telemetry, model cards and pickles."""

import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from rmviz.training.preference_loss import bradley_terry_loss

with warnings.catch_warnings():  # libraries that TRL tries to import warn about one another
    warnings.simplefilter("ignore")
    from trl.trainer.reward_config import RewardConfig as RewardArguments
    from trl.trainer.reward_trainer import RewardTrainer as _RewardTrainer

__all__ = ["RewardArguments", "RewardTrainer"]
_WEIGHTS = "weights.safetensors"


class RewardTrainer(_RewardTrainer):
    """TRL's trainer; checkpoints hold the weights under the module's own names.

    `save_pretrained` renames tensors for some families and the trainer's resume does not name them back (GPT-NeoX
    loses its head so, transformers 5.23); a plain state dict comes back as it was. The optimizer's state is the
    trainer's own `optimizer.pt`, which transformers loads with `weights_only=True`.
    """

    model: nn.Module

    def __init__(self, *args: Any, smoothing: float = 0.0, **kwargs: Any) -> None:
        """Take TRL's arguments, and the share of labels taken to be flipped."""
        super().__init__(*args, **kwargs)
        self._smoothing = smoothing

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor | tuple[Tensor, Any]:
        """TRL's loss; of pairs with a margin, a weight or smoothed labels, with its Bradley–Terry term made anew."""
        margin, weight = inputs.pop("margin", 0.0), inputs.pop("weight", 1.0)  # TRL would hand them to the model
        loss: Tensor
        outputs: Any
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)
        if self._smoothing or isinstance(margin, Tensor) or isinstance(weight, Tensor):
            chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
            difference = chosen - rejected
            wanted = bradley_terry_loss(difference, margin, weight, self._smoothing)
            loss = loss + wanted - bradley_terry_loss(difference)
        return (loss, outputs) if return_outputs else loss

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_model(self.model, str(folder / _WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        device = self.args.device
        place = "cpu" if device.type == "cpu" else str(device)  # safetensors does not know cpu:0
        safetensors.torch.load_model(self.model, Path(resume_from_checkpoint) / _WEIGHTS, device=place)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Leave no model card in checkpoints."""

    def _send_telemetry(self) -> None:
        """Tell nobody."""
