"""What an experiment has found: sentences, figures with intervals, curves over seeds, tables, and what it made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import fmean, stdev
from typing import Any

from rmviz.configs.base import require, required
from rmviz.errors import ArtifactError, ConfigError
from rmviz.store.artifact import Artifact, write_json
from rmviz.store.workspace import Workspace

REPORT = "report.json"
POINT = ("arm", "seed", "x", "y")
"""What a row of a curve has."""

_TOLD = ("found", "seeds", "seconds", "links")
"""What `--json` prints beside figures and facts."""

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number that was found, with its 95 % interval; None where there is no number."""

    name: str
    """Short and plain: it names the figure in `--json` (`fill_after`)."""

    meaning: str
    """One sentence: what it is of, and the sign convention where it is a difference."""

    mean: float | None
    low: float | None = None
    high: float | None = None
    n: int
    """What the interval is over, mostly seeds."""

    unit: str = ""
    """Figures of one unit are drawn together; empty for a plain number, `share` for one from 0 to 1."""

    target: str = ""
    """What was wished for, in words (`at least 0.15`); empty where nothing was."""

    def __post_init__(self) -> None:
        for name in ("mean", "low", "high"):
            object.__setattr__(self, name, _number(getattr(self, name), f"{name} of the figure {self.name!r}"))
        require(bool(self.name) and bool(self.meaning), f"a figure needs a name and a meaning, got {self.name!r}")
        require(
            isinstance(self.n, int) and self.n >= 0, f"n of the figure {self.name!r} must be a count, got {self.n!r}"
        )
        require(
            (self.low is None) == (self.high is None) and (self.low is None or self.low <= self.high),  # type: ignore[operator]
            f"the figure {self.name!r} needs both ends of its interval, the lower first, got {self.low} and {self.high}",
        )


@dataclass(frozen=True, kw_only=True)
class Curves:
    """How something ran, per arm and seed."""

    title: str
    meaning: str
    x: str
    """What the x axis is."""

    y: str
    """What the y axis is."""

    rows: Sequence[Row]
    """`arm`, `seed`, `x` and `y` of each point."""

    def __post_init__(self) -> None:
        for row in self.rows:
            require(set(POINT) <= set(row), f"points of {self.title!r} need {', '.join(POINT)}, got {', '.join(row)}")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The content of `report.json`: all that the page of an experiment shows."""

    title: str
    found: Sequence[str]
    """Sentences that say what was found, whichever way it fell."""

    figures: Sequence[Figure]
    arms: Sequence[Row] = ()
    """What was compared: a `name` and the settings of each."""

    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    curves: Sequence[Curves] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further results for scripts: `--json` prints them beside the figures, under names of their own."""

    links: Sequence[str] = ()
    """Ids of the artifacts that it made."""

    seeds: int
    """How many seeds it ran."""

    seconds: float
    """How long it took."""

    command: str
    """What repeats it (`rmviz recipe knapsack --seeds 5`)."""

    def __post_init__(self) -> None:
        require(not isinstance(self.found, str), "found must be a list of sentences, got one string")
        require(
            bool(self.title) and len(self.found) > 0, "an experiment needs a title, and a sentence of what was found"
        )
        names = [figure.name for figure in self.figures]
        twice = sorted({name for name in names if names.count(name) > 1})
        require(not twice, f"figures of one experiment need names of their own, got {', '.join(twice)} twice")
        require(all(arm.get("name") for arm in self.arms), "each arm of an experiment needs a name")
        taken = sorted(set(self.facts) & {*names, *_TOLD})
        require(not taken, f"facts need names that no figure and no part of an experiment has, got {', '.join(taken)}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: numpy's numbers as Python's, what is not finite as null."""
        return _plain(asdict(self))

    @classmethod
    def from_json(cls, values: Any) -> "Experiment":
        """An experiment from the content of `report.json`.

        Raises:
            ConfigError: A part is missing, unknown or of the wrong kind.
        """
        given = _parts(cls, values)
        try:
            figures = [Figure(**_parts(Figure, one)) for one in given.pop("figures")]
            curves = [Curves(**_parts(Curves, one)) for one in given.pop("curves", ())]
            taken = {*_TOLD, *(figure.name for figure in figures)}  # reports of before this was refused have such facts
            facts = {name: one for name, one in given.pop("facts", {}).items() if name not in taken}
            return cls(figures=figures, curves=curves, facts=facts, **given)
        except (TypeError, AttributeError) as error:
            raise ConfigError(f"a part of the experiment is of the wrong kind ({error})") from error

    def told(self) -> dict[str, Any]:
        """What `--json` prints: each figure under its name, then what was found, seeds, seconds and links."""
        figures = {one.name: {"mean": one.mean, "low": one.low, "high": one.high, "n": one.n} for one in self.figures}
        rest = {name: getattr(self, name) for name in _TOLD}
        return _plain(figures | rest | dict(self.facts))


def figure_of(name: str, meaning: str, values: Sequence[float], *, unit: str = "", target: str = "") -> Figure:
    """The mean of one value per seed, with Student's 95 % interval; values that are no numbers are left out.

    One seed has a mean and no interval.
    """
    from scipy import stats  # the command line must not wait for it

    known = [float(value) for value in values if math.isfinite(value)]
    if not known:
        return Figure(name=name, meaning=meaning, mean=None, n=0, unit=unit, target=target)
    mean, n = fmean(known), len(known)
    if n == 1:
        return Figure(name=name, meaning=meaning, mean=mean, n=1, unit=unit, target=target)
    half = float(stats.t.ppf(0.975, n - 1) * stdev(known) / math.sqrt(n))
    ends = {"low": mean - half, "high": mean + half}
    return Figure(name=name, meaning=meaning, mean=mean, **ends, n=n, unit=unit, target=target)


def in_points(figure: Figure) -> str:
    """A share's mean in points of a hundred, with its interval where it has one: "+19.0 points [+6.3, +31.7]"."""
    between = (
        "" if figure.low is None or figure.high is None else f" [{100 * figure.low:+.1f}, {100 * figure.high:+.1f}]"
    )
    return f"{100 * (figure.mean or 0.0):+.1f} points{between}"


def keep_experiment(
    workspace: Workspace, experiment: Experiment, *, name: str, key: str, config: Mapping[str, Any]
) -> Artifact:
    """Keep an experiment; its parents are the artifacts that it links to.

    Raises:
        NotFoundError: It links to what is not in the workspace.
    """
    parents = tuple(workspace.resolve(link).id for link in experiment.links)
    with workspace.create("experiment", name=name, key=key, config=config, parents=parents) as draft:
        write_json(draft.folder / REPORT, experiment.to_json())
        figures = {one.name: one.mean for one in experiment.figures if one.mean is not None}
        draft.metrics.update({**figures, "num_seeds": experiment.seeds, "found": experiment.found[0]})
    return draft.kept


def read_experiment(artifact: Artifact) -> Experiment:
    """What an experiment has found.

    Raises:
        ArtifactError: Its report is missing, damaged, or no report.
    """
    try:
        return Experiment.from_json(artifact.read_json(REPORT))
    except ValueError as error:
        raise ArtifactError(
            f"the report of {artifact.name} ({artifact.id}) cannot be read: {error}; run it again"
        ) from error


def _parts(kind: type, values: Any) -> dict[str, Any]:
    require(isinstance(values, Mapping), f"{kind.__name__} must be a record, got {type(values).__name__}")
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(values) - known)
    require(not unknown, f"{kind.__name__} has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    missing = sorted(f.name for f in fields(kind) if required(f) and f.name not in values)
    require(not missing, f"{kind.__name__} needs {', '.join(missing)}")
    return dict(values)


def _number(value: Any, what: str) -> float | None:
    value = _plain(value)
    require(value is None or (isinstance(value, int | float)), f"{what} must be a number, got {value!r}")
    return None if value is None else float(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if hasattr(value, "tolist"):  # an array, or a number of numpy's
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
