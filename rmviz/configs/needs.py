"""What the jobs of a kind ask of the machine of a cluster that runs them."""

from dataclasses import dataclass

_WITHOUT_MODEL = ("data.add", "data.ratings", "world.data", "task.data")
_SHARDED = (
    "effects",
    "compare",
    "data.mcts",
    "data.repair",
    "data.pink_elephants",
    "label.features",
    "probe.bias",
    "probe.euphemism",
    "probe.margins",
    "probe.spec",
    "probe.tokens",
)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """The resources of one kind of job."""

    model: bool
    """Whether it runs a model, so that a GPU serves it where there is one."""

    sharded: bool
    """Whether its work is done by shards elsewhere, so that its own process only waits for them."""


def needs_of(kind: str) -> Needs:
    """What the jobs of a kind need."""
    return Needs(model=kind not in _WITHOUT_MODEL, sharded=kind in _SHARDED)
