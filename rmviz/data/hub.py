"""Rows of a Hugging Face dataset; one clear message within seconds when it cannot be had."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rmviz.data.problems import excerpt
from rmviz.data.read import Row
from rmviz.errors import DataError

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_TIMEOUT = 5.0
"""Seconds that the hub has to answer before the local copy is tried."""


def hub_rows(dataset_id: str, split: str) -> tuple[Iterator[Row], int]:
    """Rows of one split of a hub dataset, and how many there are.

    Raises:
        DataError: No such file, folder or dataset; it is gated; the hub does not answer and there is no local copy;
            it has no such split.
    """
    if not _ID.fullmatch(dataset_id) or ".." in dataset_id:
        raise DataError(
            f"there is no file or folder {excerpt(dataset_id)}, and it cannot be a hub dataset id (owner/name)"
        )
    dataset = _loaded(dataset_id, split)
    return _rows(dataset, dataset_id), len(dataset)


def _rows(dataset: Any, dataset_id: str) -> Iterator[Row]:
    for number, value in enumerate(dataset, start=1):
        yield Row(dataset_id, number, value, done=number)


def _loaded(dataset_id: str, split: str) -> Any:
    import datasets  # a second to import, and few sources need it

    unreachable = _unreachable(dataset_id)
    try:
        with _offline(unreachable):
            return datasets.load_dataset(dataset_id, split=split)
    except Exception as error:  # whatever a builder raises, the user asked for data and gets one sentence
        if unreachable:
            raise DataError(
                f"there is no file or folder {dataset_id}, and the hub dataset of that name cannot be had: "
                "the hub does not answer and there is no local copy; check the path, or give the folder of a download"
            ) from error
        raise DataError(
            f"the hub dataset {dataset_id} cannot be read (split {split!r}): {excerpt(_first_line(error))}"
        ) from error


def _unreachable(dataset_id: str) -> bool:
    """Whether the hub cannot be asked; a dataset that it does not give out raises."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        HfApi().dataset_info(dataset_id, timeout=_TIMEOUT)
    except GatedRepoError as error:
        raise DataError(
            f"the hub dataset {dataset_id} is gated: accept its terms on the hub and log in with `hf auth login`, "
            "or download it and give its folder"
        ) from error
    except RepositoryNotFoundError as error:
        raise DataError(
            f"there is no file or folder {dataset_id}, and no hub dataset of that name "
            "(or it is private: log in with `hf auth login`)"
        ) from error
    except HFValidationError as error:
        raise DataError(
            f"there is no file or folder {dataset_id}, and it cannot be a hub dataset id (owner/name)"
        ) from error
    except (OfflineModeIsEnabled, HfHubHTTPError, OSError):
        return True
    except Exception as error:
        if "Error" in type(error).__name__ and type(error).__module__.startswith(("httpx", "requests", "urllib3")):
            return True  # the hub client does not wrap its transport's errors
        raise
    return False


@contextmanager
def _offline(active: bool) -> Iterator[None]:
    """Let the libraries look at local copies only: without this they retry for minutes."""
    import datasets.config
    import huggingface_hub.constants

    before = (datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE)
    try:
        if active:
            datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE = before


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
