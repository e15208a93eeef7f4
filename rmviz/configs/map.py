"""Settings of the jobs that draw maps."""

from dataclasses import dataclass
from typing import Literal

from rmviz.configs.asking import check_server
from rmviz.configs.axes import GENRES, TONES, parse_grid
from rmviz.configs.base import at_least, often, parent, require

Generator = Literal["world", "transformers", "openai"]
Method = Literal["qdaif", "random", "fixed_seed", "quality_only"]
JUDGES = ("asked", "form", "measure", "classifier", "llm", "world")


@dataclass(frozen=True, kw_only=True)
class MapConfig:
    """Search for the best poem of every tone and genre that a reward model knows, and draw the map of it (QDAIF)."""

    model: str = parent("reward_model")
    """Id or name of the reward model whose rewards are searched for."""

    policy: str = parent("policy", external=True)
    """What writes the poems: a policy of the workspace (world), a folder or hub id (transformers), or the name of a
    model on the server (openai)."""

    name: str = ""
    """What to call the map."""

    rows: str = often(GENRES)
    """First axis: `name: label, label`, or edges of bins: `length: 0 < 20 < 50`."""

    columns: str = often(TONES)
    """Second axis; empty for a map with one axis."""

    axes_file: str = ""
    """YAML file with the axes, in place of rows and columns."""

    generator: Generator = often("world")
    """world is the planted language model, transformers any local one, openai any compatible server."""

    server: str = ""
    """Address of the openai server, as in http://127.0.0.1:8000/v1; its key is read from OPENAI_API_KEY."""

    max_requests: int = 0
    """Ask the server at most this often, retries included; 0: as often as needed."""

    judge: str = often("world")
    """What decides the cell of a poem: asked, form, measure, classifier, llm or world; `genre=form, tone=asked` for
    one per axis."""

    judge_model: str = ""
    """Folder or hub id of the classifier, or of the language model that judges."""

    method: Method = often("qdaif")
    """How the search goes: qdaif, or a baseline. random has no archive, fixed_seed rewrites one poem, quality_only knows
    no cells."""

    baselines: bool = often(False)
    """Whether to run all four methods, so that their curves stand side by side."""

    num_repeats: int = 1
    """Runs of each method, with seeds from `seed` on; the first run of `method` is the map."""

    num_attempts: int = 2500
    """Poems written in each run."""

    num_initial: int = 250
    """Of these, poems written before the search begins to build on what it found."""

    batch_size: int = 50
    """Poems written, judged and scored together."""

    cross_share: float = 0.5
    """Share of moves that join two elites (few-shot crossover); the others rewrite one."""

    prompt: str = "Write a poem."
    """What the reward model reads as the prompt of every poem, the same in all cells."""

    seed_poem: str = ""
    """The poem that fixed_seed rewrites; one of rmviz's own when empty."""

    temperature: float = 1.0
    """Temperature of the generator."""

    max_new_tokens: int = 96
    """Tokens written at most."""

    duplicate_overlap: float = 0.6
    """Poems that share this much of their word triples with the elite of another cell do not take a cell (1: only
    equal ones)."""

    qd_score_offset: str = "auto"
    """Subtracted from every elite's reward in the QD score; auto takes the lowest reward of all runs."""

    equal_n: int = 0
    """Draws at which cells are compared; 0 takes a fifth of those of the cell with the fewest that has min_draws."""

    min_draws: int = 10
    """A cell with fewer draws is marked as thin."""

    num_resamples: int = 1000
    """Bootstrap resamples behind each interval."""

    seed: int = 0
    """Seed of the search; further runs count up from it."""

    def __post_init__(self) -> None:
        at_least(
            self, num_repeats=1, num_attempts=1, num_initial=1, batch_size=1, max_new_tokens=1, equal_n=0,
            min_draws=1, num_resamples=1, max_requests=0,
        )  # fmt: skip
        require(0 <= self.cross_share <= 1, f"cross_share must be a share from 0 to 1, got {self.cross_share}")
        require(self.temperature > 0, f"temperature must be above 0, got {self.temperature}")
        require(0 < self.duplicate_overlap <= 1, f"duplicate_overlap must be in (0, 1], got {self.duplicate_overlap}")
        grid = parse_grid(self.rows, self.columns)
        judges = judges_of(self.judge, tuple(axis.name for axis in grid.axes) if not self.axes_file else None)
        needs_model = {"classifier", "llm"} & set(judges.values())
        require(not needs_model or bool(self.judge_model), f"judge {', '.join(sorted(needs_model))} needs judge_model")
        require(
            not (self.baselines or self.method == "quality_only") or "asked" not in judges.values(),
            "quality_only asks for no cell, so its poems cannot be filed by what was asked for; choose another judge",
        )
        if self.generator == "openai":
            check_server(self.server)
        offset_of(self.qd_score_offset)


@dataclass(frozen=True, kw_only=True)
class MapRescoreConfig:
    """Score the poems of a map again: by another reward model, or with some features off."""

    map: str = parent("map")
    """Id or name of the map."""

    model: str = parent("reward_model", optional=True)
    """Id or name of the other reward model; that of other_map when empty."""

    other_map: str = parent("map", optional=True)
    """Id or name of the map that was searched with the other reward model, where there is one."""

    sae: str = parent("sae", optional=True)
    """Id or name of the SAE whose features are switched off."""

    features: str = often("")
    """Features to switch off, as in `3, 17, 204`; all of them at once."""

    name: str = ""
    """What to call the result."""

    per_cell: int = 20
    """Poems scored again in each cell of each map: its best."""

    def __post_init__(self) -> None:
        at_least(self, per_cell=1)
        require(
            not (self.features and (self.model or self.other_map)),
            "a map is scored again by another model, or with features off, not both: leave model and other_map, or features",
        )
        require(not self.features or bool(self.sae), "switching features off needs the SAE that they belong to (sae)")
        feature_list(self.features)


def judges_of(judge: str, axes: tuple[str, ...] | None) -> dict[str, str]:
    """The judge of each axis, from one name for all or from `axis=judge, axis=judge`; `axes` None: not known yet.

    Raises:
        ConfigError: A judge or an axis does not exist.
    """
    parts = [part.strip() for part in judge.split(",")]
    named = dict(part.split("=", 1) for part in parts if "=" in part)
    named = {axis.strip(): name.strip() for axis, name in named.items()} or dict.fromkeys(axes or ("",), judge.strip())
    wrong = sorted(set(named.values()) - set(JUDGES))
    require(not wrong, f"judge must be one of {', '.join(JUDGES)}, got {', '.join(wrong)[:80]!r}")
    require(
        axes is None or set(named) == set(axes),
        f"every axis needs its judge, as in `{', '.join(f'{axis}=asked' for axis in axes or ())}`, got {judge[:80]!r}",
    )
    return named


def feature_list(features: str) -> tuple[int, ...]:
    """The features in `3, 17, 204`, ascending.

    Raises:
        ConfigError: One of them is no number.
    """
    parts = features.replace(",", " ").split()
    require(
        all(part.isdecimal() for part in parts), f"features must be numbers, as in `3, 17, 204`, got {features[:80]!r}"
    )
    return tuple(sorted({int(part) for part in parts}))


def offset_of(offset: str) -> float | None:
    """The QD score offset as a number; None for auto.

    Raises:
        ConfigError: It is neither.
    """
    if offset.strip() == "auto":
        return None
    try:
        value = float(offset)
    except ValueError:
        value = float("nan")
    require(abs(value) < float("inf"), f"qd_score_offset must be auto or a number, got {offset[:80]!r}")
    return value
