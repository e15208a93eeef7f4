"""Cache entries for reruns: a length without storage, clean keys and values kept, or reused as a prefix."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

KeysValues = tuple[Float[Tensor, "text head position width"], Float[Tensor, "text head position width"]]


class KeysReady(Exception):
    """Raised out of a block once its keys and values are known: the rest of that forward is not wanted."""


class SilentLayer(DynamicLayer):
    """Cache entry of a block that does not run: it reports how many positions went before, and stores nothing."""

    def __init__(self, length: int = 0) -> None:
        super().__init__()
        self.length = length

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Hand the new keys and values on as they are."""
        return key_states, value_states

    def get_seq_length(self) -> int:
        """Positions before the first new one."""
        return self.length


class KeptLayer(SilentLayer):
    """Keeps the keys and values of one clean pass; unlike the library's entries it never forgets what left a window."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Keep them."""
        self.keys, self.values = key_states, value_states
        return key_states, value_states


class PrefixLayer(SilentLayer):
    """Gives each row the clean keys and values of its text before the rerun's first position."""

    def __init__(self, clean: KeysValues | None, texts: Int[Tensor, " row"] | None, length: int) -> None:
        super().__init__(length)
        self.clean, self.texts = clean, texts

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Clean prefix and new suffix, joined."""
        if self.clean is None or self.texts is None or not self.length:
            return key_states, value_states
        texts = self.texts.to(key_states.device)
        keys, values = (clean[:, :, : self.length].index_select(0, texts) for clean in self.clean)
        return self._joined(keys, key_states), self._joined(values, value_states)

    def _joined(self, prefix: Tensor, new: Tensor) -> Tensor:
        return torch.cat([prefix, new], dim=2)


class ReadLayer(PrefixLayer):
    """Entry of the last block: the first call collects all keys and values and stops; the second is served with them."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """All keys and values of the block, whatever the second call brings.

        Raises:
            KeysReady: At the first call.
        """
        if self.keys is None or self.values is None:
            self.keys, self.values = super().update(key_states, value_states)
            raise KeysReady
        return self.keys, self.values


def cache_of(layers: list[SilentLayer]) -> Cache:
    """A cache made of these entries, one per block."""
    return Cache(layers=list(layers))
