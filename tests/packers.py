"""An untrained packer: it names items at random and ends now and then, so that some knapsacks are filled."""

import torch

from rmviz.configs.world import TaskPolicyConfig
from rmviz.models.policy import Policy
from rmviz.world.knapsack import Knapsack
from rmviz.world.policy import language_model


def packer(seed: int = 0) -> Policy:
    """A policy of 10,000 weights that writes names of items and EOS, all else hardly ever."""
    task = Knapsack()
    tokenizer = task.tokenizer()
    model = language_model(TaskPolicyConfig(d_model=16, num_blocks=1, seed=seed), len(tokenizer), task.max_length)
    with torch.no_grad():
        weights = model.get_output_embeddings().weight
        weights *= 0.1
        model.gpt_neox.final_layer_norm.bias += 1.0  # a bias of the logits
        weights[[*tokenizer.encode(" a b c d e f g h"), tokenizer.eos_token_id]] += 0.5
    return Policy(model.eval(), tokenizer, format="plain", max_length=task.max_length, name="packer")
