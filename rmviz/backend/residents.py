"""The models that are loaded: by last use, within a memory budget, one lane of work each."""

import contextlib
import gc
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import psutil
import torch

from rmviz.backend import wire
from rmviz.backend.lanes import Lane
from rmviz.backend.live import LiveModel
from rmviz.errors import BackendError, ModelError
from rmviz.models.load import from_artifact
from rmviz.models.reward_model import RewardModel
from rmviz.sae.files import load_sae_artifact
from rmviz.sae.model import SparseAutoencoder
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace

_log = logging.getLogger(__name__)


class OutOfMemoryError(BackendError):
    """A model did not fit into memory, or had none left to answer with; it was dropped."""


class Residents:
    """Loads models and SAEs of a workspace on demand, and drops the longest unused ones when the budget is spent.

    A single model larger than the budget is still loaded, alone: memory itself then has the last word.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        budget_bytes: int = 0,
        load_model: Callable[[Artifact], RewardModel] = from_artifact,
        load_sae: Callable[[Artifact], SparseAutoencoder] = load_sae_artifact,
    ) -> None:
        """No model is loaded yet; a budget of 0 takes half of the memory, or 80 % of the GPU's."""
        self.workspace = workspace
        self.budget_bytes = budget_bytes or default_budget()
        self._load_model = load_model
        self._load_sae = load_sae
        self._models: dict[str, LiveModel] = {}
        self._lanes: dict[str, Lane] = {}
        self._lock = threading.Lock()
        self._loading = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """Memory of the parameters of all models and SAEs that are loaded."""
        with self._lock:
            return sum(live.num_bytes for live in self._models.values())

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or waits."""
        return any(lane.busy for lane in list(self._lanes.values()))

    def loaded(self) -> list[wire.LoadedModel]:
        """The loaded models, last used first."""
        with self._lock:
            models = sorted(self._models.values(), key=lambda live: -live.last_use)
            return [live.loaded(self._lanes[live.id].num_waiting) for live in models]

    def submit(self, request: wire.Request) -> "Future[bytes]":
        """Queue a request at its model; the future holds the answer as JSON.

        Raises:
            NotFoundError: The workspace has no such model or SAE.
        """
        ref, sae_ref, view = (getattr(request, name, "") for name in ("model", "sae", "view"))
        model = self.workspace.resolve(ref, "reward_model")
        sae = self.workspace.resolve(sae_ref, "sae") if sae_ref else None
        kind = type(request).__name__
        with self._lock:
            lane = self._lanes.setdefault(model.id, Lane(model.id))
        group = kind if isinstance(request, wire.ScoreRequest) else ""
        return lane.submit(
            partial(self._answers, model, sae), request, view=(kind, view) if view else None, group=group
        )

    def drop(self, model_id: str) -> None:
        """Forget a model; its memory is free once its running request ends."""
        with self._lock:
            dropped = self._models.pop(model_id, None)
        if dropped is not None:
            _log.info("dropped %s (%s)", dropped.name, model_id)
            del dropped
            _free_memory()

    def _answers(self, model: Artifact, sae: Artifact | None, requests: list[wire.Request]) -> list[bytes]:
        live = None
        try:
            live = self._model(model)
            if sae is not None:
                self._add_sae(live, sae)
            live.last_use = time.monotonic()
            return [answer.model_dump_json().encode() for answer in live.answers(requests, sae.id if sae else "")]
        except (MemoryError, RuntimeError, ModelError) as error:
            if not _is_out_of_memory(error):
                raise
            live = None  # the traceback of what is raised below must not keep the model
            words = str(error).splitlines()[0][:200] if str(error) else "no more could be had"
        with self._lock:
            num_models = len(self._models)
        self.drop(model.id)
        raise OutOfMemoryError(
            f"memory ran out while {model.name} was at work ({words}), so the model was dropped. Use a shorter text, "
            f"register the model with a lower max_length, or keep fewer models at once ({num_models} were loaded)"
        )

    def _model(self, artifact: Artifact) -> LiveModel:
        with self._lock:
            if live := self._models.get(artifact.id):
                return live
        with self._loading:
            self._make_room(_file_bytes(artifact))
            start = time.monotonic()
            live = LiveModel(artifact.id, artifact.name, self._load_model(artifact))
            with self._lock:
                self._models[artifact.id] = live
            self._make_room(0, keep=artifact.id)
            _log.info(
                "loaded %s in %.1f s: %.0f MB on %s",
                artifact.name,
                time.monotonic() - start,
                live.num_bytes / 1e6,
                live.rm.device,
            )
            return live

    def _add_sae(self, live: LiveModel, artifact: Artifact) -> None:
        if artifact.id not in live.saes:
            with self._loading:
                self._make_room(_file_bytes(artifact), keep=live.id)
                live.add_sae(artifact.id, self._load_sae(artifact))
                self._make_room(0, keep=live.id)

    def _make_room(self, num_bytes: int, keep: str = "") -> None:
        """Drop models, idle and longest unused ones first, until this many bytes more fit the budget."""
        while self.used_bytes + num_bytes > self.budget_bytes:
            with self._lock:
                others = [live for live in self._models.values() if live.id != keep]
                oldest = min(others, key=lambda live: (self._lanes[live.id].busy, live.last_use), default=None)
            if oldest is None:
                return
            self.drop(oldest.id)


def default_budget() -> int:
    """Bytes that models may take: 80 % of the GPU's memory, or half of what this process may use of the machine's."""
    if torch.cuda.is_available():
        return int(0.8 * torch.cuda.mem_get_info()[1])
    total = psutil.virtual_memory().total
    with contextlib.suppress(OSError, ValueError):  # no control group, or one without a limit
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total // 2


def _file_bytes(artifact: Artifact) -> int:
    """Size of the weights before they are loaded, where they lie in the artifact or in a folder."""
    own = sum(size for name, (size, _) in artifact.files.items() if name.endswith(".safetensors"))
    source = Path(str(artifact.config.get("source") or "/nowhere")).expanduser()
    return own or sum(path.stat().st_size for path in source.glob("*.safetensors"))


def _is_out_of_memory(error: BaseException | None) -> bool:
    if error is None or isinstance(error, MemoryError | torch.OutOfMemoryError):
        return error is not None
    words = "can't allocate memory" in str(error) or "out of memory" in str(error)  # the CPU has no error type
    return words or _is_out_of_memory(error.__cause__)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def process_bytes() -> int:
    """Resident memory of this process."""
    return psutil.Process().memory_info().rss
