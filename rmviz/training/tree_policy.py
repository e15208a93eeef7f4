"""A language model and a reward as what a tree search asks: priors and rollouts from the one, values from the other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rmviz.configs.mcts import MctsConfig
from rmviz.errors import DataError
from rmviz.models.policy import Policy
from rmviz.training.mcts import Opened, State
from rmviz.training.rewards import Scorer, paid

_TOKENS = 8192
"""Most tokens of one batch whose next token is asked for."""


@dataclass(frozen=True)
class TreePolicy:
    """The replies of a policy to some prompts, searched and paid."""

    policy: Policy
    scorer: Scorer
    prompts: Sequence[str]
    config: MctsConfig
    seed: int
    """Of these prompts' draws."""

    def __post_init__(self) -> None:
        """Check that the policy has tokens to choose from.

        Raises:
            DataError: `top_k` is more than it has.
        """
        size = self.policy.model.config.vocab_size
        if self.config.top_k > size:
            raise DataError(f"top_k is {self.config.top_k}, and {self.policy.name} has {size} tokens; choose fewer")

    def is_whole(self, tokens: tuple[int, ...]) -> bool:
        """Whether a reply ends with EOS, or is as long as replies may be."""
        return len(tokens) >= self.config.max_new_tokens or tokens[-1:] == (self.policy.eos_id,)

    def opened(self, states: Sequence[State], draw: int) -> list[Opened]:
        """Priors and one rollout each; the rollout's first token is drawn from the distribution that gave the priors."""
        given = self._given(states)
        chances = torch.cat([self._chances(part) for part in self._batches(given)])
        generator = torch.Generator(chances.device).manual_seed(self._seed(draw))
        first = torch.multinomial(chances, 1, generator=generator).squeeze(1).tolist()
        begun = [(*tokens, token) for (_, tokens), token in zip(states, first, strict=True)]
        rest = self._rest([(problem, tokens) for (problem, _), tokens in zip(states, begun, strict=True)], draw)
        likeliest = chances.topk(self.config.top_k, dim=1)
        kept = zip(likeliest.indices.tolist(), likeliest.values.double().tolist(), strict=True)
        return [
            Opened(tuple(zip(tokens, priors, strict=True)), (token, *written), 1 + calls)
            for (tokens, priors), token, (written, calls) in zip(kept, first, rest, strict=True)
        ]

    def values(self, replies: Sequence[State]) -> list[float]:
        """What each whole reply is paid."""
        rewards = paid(
            self.scorer, [self.prompts[problem] for problem, _ in replies], [self.text(*one) for one in replies]
        )
        return np.asarray(rewards, float).tolist()

    def text(self, problem: int, tokens: Sequence[int]) -> str:
        """A reply to a problem's prompt as it stands in a dataset."""
        return self.policy.text_of(self.prompts[problem], tokens)

    def name_of(self, token: int) -> str:
        """What to show for a token."""
        return "(end)" if token == self.policy.eos_id else str(self.policy.tokenizer.decode([token]))

    def sampled(self, temperature: float, draw: int) -> list[tuple[int, ...]]:
        """A reply to each prompt; the likeliest token each time at temperature 0."""
        given = self.policy.contexts(self.prompts, self.config.max_new_tokens)
        return self.policy.continued(
            given, seed=self._seed(draw), max_new_tokens=self.config.max_new_tokens, temperature=temperature
        )

    def _rest(self, states: Sequence[State], draw: int) -> list[tuple[tuple[int, ...], int]]:
        """How the policy writes on from each state, and the calls that took; whole ones are left as they are."""
        rest: list[tuple[tuple[int, ...], int]] = [((), 0)] * len(states)
        open_ones = [place for place, (_, tokens) in enumerate(states) if not self.is_whole(tokens)]
        if open_ones:
            unfinished = [states[place] for place in open_ones]
            most = self.config.max_new_tokens
            written = self.policy.continued(
                self._given(unfinished),
                seed=self._seed(draw) + 1,
                max_new_tokens=most - min(len(tokens) for _, tokens in unfinished),
                temperature=self.config.temperature,
            )
            for place, (_, tokens), found in zip(open_ones, unfinished, written, strict=True):
                rest[place] = found[: most - len(tokens)], len(found)
        return rest

    def _given(self, states: Sequence[State]) -> list[tuple[int, ...]]:
        contexts = self.policy.contexts([self.prompts[problem] for problem, _ in states], self.config.max_new_tokens)
        return [context + tokens for context, (_, tokens) in zip(contexts, states, strict=True)]

    def _batches(self, given: Sequence[tuple[int, ...]]) -> list[Sequence[tuple[int, ...]]]:
        size = max(1, _TOKENS // max(map(len, given)))
        return [given[start : start + size] for start in range(0, len(given), size)]

    def _chances(self, given: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """`(text, token)`: probabilities of what comes next, at the temperature of the draws."""
        return (self.policy.next_log_probs(given) / self.config.temperature).softmax(1)

    def _seed(self, draw: int) -> int:
        return (self.seed * 1_000_003 + 2 * draw) % 2**62
