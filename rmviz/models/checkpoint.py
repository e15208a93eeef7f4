"""Checkpoints on disk and on the hub: found, pinned, and refused with a reason before any weight is read."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]  # of the HTTP library that this version of the hub uses
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError, safe_open

from rmviz.errors import ModelError

HUB_TIMEOUT = 8.0
"""Seconds to wait for the hub's first answer."""

_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "README.md"]
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_CONVERT = (
    'python -c "import torch, safetensors.torch as s; '
    "w = torch.load('{file}', map_location='cpu', weights_only=True); "
    "s.save_file({{k: v.clone().contiguous() for k, v in w.items()}}, '{target}', metadata={{'format': 'pt'}})\""
)


@dataclass(frozen=True)
class Checkpoint:
    """A folder with config.json and safetensors weights, whose headers have been read."""

    folder: Path
    source: str
    """Absolute folder, or hub id."""

    revision: str
    """Commit of a hub model, empty for a folder."""

    config: dict[str, Any]
    tensors: dict[str, tuple[Path, tuple[int, ...]]]
    """File and shape of every tensor."""

    readme: str

    @property
    def num_weights(self) -> int:
        """Weights in all files."""
        return sum(_product(shape) for _, shape in self.tensors.values())


def find_checkpoint(source: str | Path, revision: str = "") -> Checkpoint:
    """The checkpoint in a folder or under a hub id.

    Raises:
        ModelError: There is none, or it must not or cannot be read; the reason says what to do.
    """
    text = str(source).strip()
    folder = _folder(text)
    if folder is not None:
        return read_folder(folder, str(folder), "")
    if _looks_like_path(text):
        raise ModelError(
            f"there is no folder {text[:200]!r}; give a folder with config.json and *.safetensors, or a hub id"
        )
    folder, commit = _from_hub(text, revision)
    return read_folder(folder, text, commit)


def _folder(text: str) -> Path | None:
    try:
        path = Path(text).expanduser().resolve()
        exists, is_folder = path.exists(), path.is_dir()
    except (OSError, ValueError, RuntimeError):
        return None
    if exists and not is_folder:
        raise ModelError(f"{text} is a file; give the folder that holds it, with config.json and *.safetensors")
    return path if exists else None


def _looks_like_path(text: str) -> bool:
    return text.startswith(("/", "~", ".")) or "\\" in text or "\0" in text or text.count("/") > 1


def read_folder(folder: Path, source: str, revision: str) -> Checkpoint:
    """A checkpoint folder, its config and the headers of its weights read and checked."""
    config = _read_config(folder)
    files = _weight_files(folder)
    tensors = {name: (file, shape) for file in files for name, shape in _header(file).items()}
    readme = folder / "README.md"
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    return Checkpoint(folder, source, revision, config, tensors, text)


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelError(
                f"{folder} holds a LoRA adapter only; merge it into its base (peft: merge_and_unload) and add that"
            )
        raise ModelError(f"{folder} has no config.json; give a folder that holds a Hugging Face model")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} is not readable JSON; get the model again") from error
    if not isinstance(config, dict):
        raise ModelError(f"{file} is not a model's config; get the model again")
    return config


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    present = sorted(folder.glob("*.safetensors"))
    if index.is_file():
        try:
            named = {folder / name for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"{index} is not readable; get the model again") from error
        missing = sorted(path.name for path in named if path not in present)
        if missing:
            raise ModelError(
                f"{folder} lacks {len(missing)} of {len(named)} weight files ({missing[0]}); get the model again"
            )
    if not present:
        refuse_without_safetensors([path.name for path in folder.iterdir()], str(folder))
    return present


def refuse_without_safetensors(names: list[str], place: str) -> None:
    """Say why files that hold no safetensors weights cannot be used.

    Raises:
        ModelError: Always.
    """
    pickles = sorted(
        name for name in names if name.endswith(_PICKLES) and not re.match(r"(training_args|optimizer|scheduler)", name)
    )
    if not pickles:
        raise ModelError(f"{place} holds no weights (*.safetensors); get the model again")
    target = "model.safetensors" if len(pickles) == 1 else f"{pickles[0].rsplit('.', 1)[0]}.safetensors"
    raise ModelError(
        f"{place} holds only pickled weights ({pickles[0]}), which can run code when they are read, so rmviz does "
        f"not read them; convert each in its folder: {_CONVERT.format(file=pickles[0], target=target)}"
    )


def _header(file: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(file, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{file} is damaged or no safetensors file ({error}); get it again") from error


def _from_hub(source: str, revision: str) -> tuple[Path, str]:
    """Local copy of a hub model and its commit; from the cache alone where the hub cannot be reached."""
    try:
        validate_repo_id(source)
    except HFValidationError as error:
        raise ModelError(f"{source[:200]!r} is neither a folder nor a hub id (owner/name)") from error
    if re.fullmatch("[0-9a-f]{40}", revision) and (folder := _cached(source, revision)):
        return folder, revision  # a pinned commit never changes: no need to ask
    try:
        info = HfApi().model_info(source, revision=revision or None, timeout=HUB_TIMEOUT)
        names = [file.rfilename for file in info.siblings or []]
        if not any(name.endswith(".safetensors") for name in names):
            refuse_without_safetensors(names, source)
        return _download(source, str(info.sha)), str(info.sha)
    except GatedRepoError as error:
        raise ModelError(
            f"{source} is gated: accept its terms on the hub, and set HF_TOKEN to a token that may read it"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{source} has no revision {revision!r}; leave it empty for today's") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"there is no folder and no hub model called {source!r}, or it is private (set HF_TOKEN)"
        ) from error
    except (HTTPError, OSError) as error:
        folder = _cached(source, revision)
        if folder is None:
            raise ModelError(
                f"there is no folder {source!r}, and the hub cannot be reached ({type(error).__name__}) "
                "nor is the model in its cache; check the name and the connection"
            ) from error
        return folder, folder.name


def _download(source: str, commit: str) -> Path:
    try:
        return Path(
            snapshot_download(
                source, revision=commit, allow_patterns=_WANTED, ignore_patterns=["*/*"], etag_timeout=HUB_TIMEOUT
            )
        )
    except OSError as error:
        if isinstance(error, (HfHubHTTPError, LocalEntryNotFoundError, ConnectionError)):
            raise
        raise ModelError(
            f"{source} could not be kept on disk: {os.strerror(error.errno or 0)}; free some space"
        ) from error


def _cached(source: str, revision: str) -> Path | None:
    """The model in the hub's local cache, if all of it is there."""
    try:
        folder = Path(snapshot_download(source, revision=revision or None, local_files_only=True))
        _weight_files(folder)
    except (OSError, ValueError):  # a ModelError about missing files is a ValueError
        return None
    return folder


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
