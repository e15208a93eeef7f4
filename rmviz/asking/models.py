"""What is asked: one small protocol, and the language model that a config names."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from rmviz.asking.local import LocalModel
from rmviz.asking.remote import RemoteModel
from rmviz.configs.asking import Asks
from rmviz.models.policy_files import load_language_model
from rmviz.store.workspace import Workspace

REFUSAL = re.compile(
    r"\W*(i['’]?m sorry|i am sorry|sorry,|i can(no|['’])t|i am unable|i['’]m unable|as an ai)\b", re.IGNORECASE
)
"""How an answer begins in which a language model declines."""


@runtime_checkable
class LanguageModel(Protocol):
    """Answers questions."""

    name: str
    """What answered, for the record."""

    def answers(
        self, questions: Sequence[str], *, seed: int | Sequence[int], told: Callable[[int, str], None] = ...
    ) -> list[str]:
        """One text per question, in order; empty where none came. `told` gets place and text of each as it comes.

        A seed of each question gives it the same seed in whatever company it is asked; else its place among them counts.
        """
        ...


def opened_model(config: Asks, workspace: Workspace, counted: Path) -> LanguageModel:
    """The language model that a config asks; one on this machine may be a policy of the workspace.

    Requests to a server are counted in a file, so that their ceiling is the job's.

    Raises:
        ModelError: It cannot be loaded.
    """
    if config.asked == "openai":
        return RemoteModel(
            config.server, config.policy, temperature=config.temperature, max_tokens=config.max_new_tokens,
            max_requests=config.max_requests, counted=counted,
        )  # fmt: skip
    found = workspace.catalogue.find(ref=config.policy, kind="policy")
    loaded = load_language_model(found[0] if found else config.policy)
    return LocalModel(*loaded, temperature=config.temperature, max_new_tokens=config.max_new_tokens)
