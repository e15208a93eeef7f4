"""The one place where TRL is imported: its trainers, without telemetry, model cards and pickles."""

import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from rmviz.models.policy import Policy
from rmviz.training.preference_loss import bradley_terry_loss

with warnings.catch_warnings():  # libraries that TRL tries to import warn about one another
    warnings.simplefilter("ignore")
    from trl.trainer.dpo_config import DPOConfig as DPOArguments
    from trl.trainer.dpo_trainer import DPOTrainer as _DPOTrainer
    from trl.trainer.grpo_config import GRPOConfig as GRPOArguments
    from trl.trainer.grpo_trainer import GRPOTrainer as _GRPOTrainer
    from trl.trainer.kto_config import KTOConfig as KTOArguments
    from trl.trainer.kto_trainer import KTOTrainer as _KTOTrainer
    from trl.trainer.reward_config import RewardConfig as RewardArguments
    from trl.trainer.reward_trainer import RewardTrainer as _RewardTrainer
    from trl.trainer.rloo_config import RLOOConfig as RLOOArguments
    from trl.trainer.rloo_trainer import RLOOTrainer as _RLOOTrainer
    from trl.trainer.sft_config import SFTConfig as SFTArguments
    from trl.trainer.sft_trainer import SFTTrainer as _SFTTrainer
    from trl.trainer.utils import add_fused_lm_head

__all__ = [
    "DPOArguments", "DPOTrainer", "GRPOArguments", "GRPOTrainer", "KTOArguments", "KTOTrainer", "RLOOArguments", "RLOOTrainer",
    "RewardArguments", "RewardTrainer", "SFTArguments", "SFTTrainer", "unpatched",
]  # fmt: skip
warnings.filterwarnings(
    "ignore", message=".*is_gradient_checkpointing.* is deprecated"
)  # TRL 1.16 on transformers 5.23
_WEIGHTS = "weights.safetensors"


class _Plain:
    """Checkpoints hold the weights under the module's own names; nothing is told to anybody.

    `save_pretrained` renames tensors for some families and the trainer's resume does not name them back (GPT-NeoX
    loses its head so, transformers 5.23); a plain state dict comes back as it was. Where low-rank updates are trained,
    they alone are saved. The optimizer's state is the trainer's own `optimizer.pt`, which transformers loads with
    `weights_only=True`.
    """

    model: Any
    args: Any

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        if hasattr(self.model, "peft_config"):
            safetensors.torch.save_file(
                {name: weight.detach().contiguous() for name, weight in self._updates().items()}, folder / _WEIGHTS
            )
        else:
            safetensors.torch.save_model(self.model, str(folder / _WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        device = self.args.device
        place = "cpu" if device.type == "cpu" else str(device)  # safetensors does not know cpu:0
        file = Path(resume_from_checkpoint) / _WEIGHTS
        if hasattr(self.model, "peft_config"):
            saved = safetensors.torch.load_file(file, device=place)
            for name, weight in self._updates().items():
                weight.data.copy_(saved[name])
        else:
            safetensors.torch.load_model(self.model, file, device=place)

    def _updates(self) -> dict[str, nn.Parameter]:
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Leave no model card in checkpoints."""

    def _send_telemetry(self) -> None:
        """Tell nobody."""


class _Tokenised(_Plain):
    """Takes the dataset as it is: rows are tokens already, and none is dropped, cut or ended once more."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset


class RewardTrainer(_Plain, _RewardTrainer):
    """TRL's, with plain checkpoints, and a loss that knows margins, weights and smoothed labels."""

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
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True)  # type: ignore[misc]
        if self._smoothing or isinstance(margin, Tensor) or isinstance(weight, Tensor):
            chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
            difference = chosen - rejected
            wanted = bradley_terry_loss(difference, margin, weight, self._smoothing)
            loss = loss + wanted - bradley_terry_loss(difference)
        return (loss, outputs) if return_outputs else loss


class DPOTrainer(_Tokenised, _DPOTrainer):
    """TRL's, with plain checkpoints, on rows that its collator makes batches of."""


class SFTTrainer(_Tokenised, _SFTTrainer):
    """TRL's, with plain checkpoints, on rows that its collator makes batches of."""


class KTOTrainer(_Tokenised, _KTOTrainer):
    """TRL's, with plain checkpoints, on rows that its collator makes batches of."""


class _Writing(_Plain):
    """Prompts are laid out, and replies drawn, by the policy itself: what is trained is what is sampled elsewhere.

    The trainer would tokenise prompts alone, without their layout, and load the reference from wherever the model's config
    says it came from; the reference is handed in instead. What a step draws depends on the seed and its number alone.
    """

    policy: Policy
    accelerator: Any
    state: Any
    temperature: float
    max_completion_length: int

    def read_as(self, policy: Policy, reference: Policy, beta: float) -> None:
        """Draw with this policy, and hold it to this reference with weight `beta`."""
        self.policy, self.beta, self.ref_model = policy, beta, None
        if "ref" in getattr(policy.model, "peft_config", {}):
            policy.model.delete_adapter("ref")
        if beta:
            add_fused_lm_head(reference.model, temperature=self.temperature)
            self.ref_model = self.accelerator.prepare_model(reference.model, evaluation_mode=True)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [list(ids) for ids in self.policy.contexts(prompts, self.max_completion_length)], None, {}

    def _drawn(self, prompt_ids: list[list[int]]) -> list[list[int]]:
        place = self.accelerator.process_index
        self.policy.model.eval()
        written = self.policy.continued(
            prompt_ids, seed=(self.args.seed * 1_000_003 + self.state.global_step) * 1_009 + place,
            max_new_tokens=self.max_completion_length, temperature=self.temperature,
        )  # fmt: skip
        self.policy.model.train()
        return [list(ids) for ids in written]


class RLOOTrainer(_Writing, _RLOOTrainer):
    """TRL's, with plain checkpoints, writing as the policy does."""

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        return self._drawn(prompt_ids)


class GRPOTrainer(_Writing, _GRPOTrainer):
    """TRL's, with plain checkpoints, writing as the policy does."""

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        return self._drawn(prompt_ids), None


def unpatched(model: Any) -> None:
    """Give a model its own forward back, which the trainers replace."""
    for module in (model, model.get_base_model() if hasattr(model, "peft_config") else model):
        for name in ("forward", "_original_forward"):
            vars(module).pop(name, None)
