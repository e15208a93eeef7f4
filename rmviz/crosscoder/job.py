"""The crosscoder job: one dictionary on two models, its noise, and what each feature is worth to either model."""

import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rmviz.configs.base import to_dict
from rmviz.configs.crosscoder import CrosscoderConfig
from rmviz.crosscoder.model import FILE, decoder_norms, load_crosscoder, save_crosscoder
from rmviz.crosscoder.norms import KIND, ONLY_FIRST, ONLY_SECOND, bound, noise_level, relative_norm
from rmviz.crosscoder.pairing import PairedStream, check_paired, paired_whitening
from rmviz.crosscoder.scan import CrosscoderScan
from rmviz.crosscoder.tables import placed_rows, save_tables
from rmviz.crosscoder.trainer import CrosscoderTrainer
from rmviz.data.load import dataset_texts
from rmviz.errors import DataError
from rmviz.jobs.shards import made_shards, shard_folder
from rmviz.models.reward_model import RewardModel
from rmviz.sae.train import REPORT_SECONDS, at_most_every, default_hookpoint, trained
from rmviz.sae.whitening import folded
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace
from rmviz.types import Report

_TEXT = 300  # rows of training that take about as long as one text of the scan


def run(config: CrosscoderConfig, workspace: Workspace, report: Report) -> Artifact:
    """Train the crosscoder and its null, switch every feature off in both models, and keep what was found.

    Raises:
        ModelError: The models do not fit each other or the hookpoint, or training diverges.
        DataError: There are no texts.
    """
    parents = [workspace.resolve(ref, "reward_model") for ref in (config.first, config.second)]
    dataset = workspace.resolve(config.dataset, "dataset")
    scan = CrosscoderScan(workspace.root, config, config.hookpoint, report.folder)
    hookpoint = config.hookpoint or default_hookpoint(scan.models[0])
    scan = CrosscoderScan(workspace.root, config, hookpoint, report.folder)
    check_paired(*scan.models, hookpoint, scan.texts)
    num_steps = -(-config.num_tokens // config.batch_size)
    total = num_steps * config.batch_size + _TEXT * len(scan.texts)
    if not (report.folder / FILE).exists():
        _train(config, dataset, scan.models, hookpoint, num_steps, _Part(report, total))
    with closing(made_shards(scan, range(scan.num_shards), report.folder)) as shards:
        done = total - _TEXT * len(scan.texts)
        for number, figures in shards:
            done += _TEXT * len(scan.part(number))
            report(done, total, figures)
    info = {
        "kind": KIND, "hookpoint": hookpoint, "dataset": dataset.id, "seed": config.seed,
        "models": [{"id": parent.id, "name": parent.name} for parent in parents],
    }  # fmt: skip
    name = config.name or f"{parents[0].name} and {parents[1].name}, {hookpoint}"
    ids = tuple(dict.fromkeys([*(parent.id for parent in parents), dataset.id]))
    with workspace.create("comparison", name=name, key=report.key, config=to_dict(config), parents=ids) as draft:
        draft.metrics |= _kept(draft.folder, scan, info)
    return draft.kept


@dataclass(frozen=True)
class _Part:
    """A report of the first stage of a job that has a second one."""

    report: Report
    total: int

    @property
    def key(self) -> str:
        return self.report.key

    @property
    def folder(self) -> Path:
        return self.report.folder

    def __call__(self, step: int, total: int, metrics: Any = None) -> None:
        self.report(step, self.total, metrics)


def _train(
    config: CrosscoderConfig,
    dataset: Artifact,
    models: tuple[RewardModel, RewardModel],
    hookpoint: str,
    num_steps: int,
    report: Report,
) -> None:
    """Leave the trained crosscoder, with what is known of its norms, in the job's folder."""
    texts = dataset_texts(dataset, config.split, config.num_train_pairs, config.seed)
    if not texts:
        raise DataError(f"the dataset {dataset.name} has no texts in its {config.split} split; use --split all")
    check_paired(*models, hookpoint, texts)
    report(0, 1)
    stream = PairedStream(
        *models, texts, hookpoint, batch_size=config.batch_size, seed=config.seed, max_tokens=config.max_tokens,
        progress=at_most_every(REPORT_SECONDS, lambda rows: report(0, 1, {"rows_read": rows})),
    )  # fmt: skip
    trainer, map = trained(
        config.training(), stream, num_steps, report, device=models[0].device, fit=paired_whitening,
        make=CrosscoderTrainer,
    )  # fmt: skip
    assert isinstance(trainer, CrosscoderTrainer)
    raw = trainer.result()
    beside = report.folder / f".{os.getpid()}.{FILE}"
    save_crosscoder(
        beside, folded(raw, map), norms=torch.from_numpy(decoder_norms(raw.W_dec)), alive=~trainer.dead(),
        null_norms=torch.from_numpy(decoder_norms(trainer.null.result().W_dec)), null_alive=~trainer.null.dead(),
    )  # fmt: skip
    beside.replace(report.folder / FILE)


def _kept(folder: Path, scan: CrosscoderScan, info: dict[str, Any]) -> dict[str, Any]:
    """The files of the artifact, and its key figures."""
    joint, known = load_crosscoder(scan.folder / FILE, scan.hookpoint)
    save_crosscoder(folder / FILE, joint, **known)
    arrays = {name: tensor.numpy() for name, tensor in known.items()}
    null = relative_norm(arrays["null_norms"])[arrays["null_alive"]]
    noise = noise_level(null, np.ones(len(null), bool))
    shards = [shard_folder(scan.folder, number) for number in range(scan.num_shards)]
    table, spreads = save_tables(
        folder, shards, joint, arrays["norms"], noise, num_resamples=scan.config.num_resamples, seed=scan.config.seed
    )
    placed_rows(shards, folder)
    info |= {
        "noise": noise, "bound": bound(noise), "null_num_features": len(null), "null": np.round(null, 5).tolist(),
        "reward_std": spreads, "num_texts": len(scan.texts),
    }  # fmt: skip
    write_json(folder / "crosscoder.json", info)
    return {
        "what": KIND, "hookpoint": scan.hookpoint, "d_sae": joint.d_sae, "num_alive": int(arrays["alive"].sum()),
        "num_features": len(table), "num_only_first": int((table["class"] == ONLY_FIRST).sum()),
        "num_only_second": int((table["class"] == ONLY_SECOND).sum()), "noise": noise, "bound": bound(noise),
        "num_texts": len(scan.texts),
    }  # fmt: skip
