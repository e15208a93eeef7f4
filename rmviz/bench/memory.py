"""Peak memory of an effects scan over few texts and over ten times as many, each in a process of its own."""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPTNeoXConfig, GPTNeoXForSequenceClassification, PreTrainedTokenizerFast

from rmviz.ablation.scan import run
from rmviz.configs.effects import EffectsConfig
from rmviz.data.keep import keep_dataset
from rmviz.jobs.run import run_job
from rmviz.models.load import from_artifact
from rmviz.models.register import keep_reward_model
from rmviz.models.reward_model import RewardModel
from rmviz.sae.files import save_sae
from rmviz.sae.model import SparseAutoencoder
from rmviz.store.workspace import Workspace
from rmviz.types import Text

_VOCAB, _WIDTH, _LENGTH, _D_SAE, _K = 200, 32, 16, 64, 2


def run_bench(*, num_texts: int = 2000, times: int = 10) -> dict[str, Any]:
    """Peak resident memory of the job `effects` on a small random model.

    Args:
        num_texts: Texts of the smaller scan.
        times: How many times as many the larger one has.

    Returns:
        `{"cases": [{num_texts, num_rows, peak_bytes, seconds}], "ratio"}`.
    """
    with tempfile.TemporaryDirectory(prefix="rmviz-bench-") as folder:
        space = Workspace(Path(folder))
        _make(space)
        cases = []
        for number in (num_texts, num_texts * times):
            keep_dataset(space, _texts(number), name=f"texts-{number}", heldout=0.0, seed=0)
            command = [sys.executable, "-m", __name__, folder, f"texts-{number}"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            cases.append({"num_texts": number} | json.loads(done.stdout.splitlines()[-1]))
    return {"cases": cases, "ratio": cases[1]["peak_bytes"] / cases[0]["peak_bytes"]}


def _make(space: Workspace) -> None:
    """A reward model with random weights, and an SAE with random directions."""
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=_VOCAB, hidden_size=_WIDTH, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, pad_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    config.num_labels = 1
    words = Tokenizer(models.WordLevel({str(i): i for i in range(_VOCAB)}, unk_token="1"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="1", pad_token="0")
    rm = RewardModel(GPTNeoXForSequenceClassification(config), tokenizer, name="bench", format="plain", max_length=64)
    artifact = keep_reward_model(space, rm, name="bench")
    W_dec = torch.nn.functional.normalize(torch.randn(_D_SAE, _WIDTH), dim=1)
    sae = SparseAutoencoder(
        architecture="topk", W_enc=W_dec.T.contiguous(), W_dec=W_dec, b_enc=torch.zeros(_D_SAE), b_dec=torch.zeros(_WIDTH),
        k=_K, hookpoint="layers.0", model_fingerprint=from_artifact(artifact).fingerprint,
    )  # fmt: skip
    with space.create("sae", name="bench-sae", parents=(artifact.id,)) as draft:
        save_sae(draft.folder / "sae", sae)


def _texts(number: int) -> list[Text]:
    rng = random.Random(number)
    some = (" ".join(str(rng.randrange(2, _VOCAB)) for _ in range(_LENGTH)) for _ in range(number))
    return [Text(text_id=str(i), prompt="", reply=reply) for i, reply in enumerate(some)]


def main() -> None:
    """`python -m rmviz.bench.memory WORKSPACE DATASET`: one scan, and what it took."""
    root, dataset = sys.argv[1:]
    start = time.monotonic()
    config = EffectsConfig(sae="bench-sae", dataset=dataset, split="all", num_pairs=0)
    metrics = run_job("effects", config, Workspace(root), run).metrics
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(json.dumps({"num_rows": metrics["num_rows"], "peak_bytes": peak, "seconds": time.monotonic() - start}))


if __name__ == "__main__":
    main()
