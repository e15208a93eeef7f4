"""What iterated RLHF has found, as an experiment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rmviz.configs.iterated import IteratedConfig
from rmviz.recipes.measure import Point
from rmviz.recipes.proxies import Insights
from rmviz.store.artifact import Artifact
from rmviz.store.experiments import Curves, Experiment, Figure, figure_of

_SHOWN = {
    "gold": "mean gold reward of replies to held-out prompts",
    "kl": "nats per reply by which the policy left its start",
}


@dataclass
class Arm:
    """One way of spending the labels, for one seed."""

    name: str
    seed: int
    points: list[Point]
    """The start, then the policy of each round."""

    proxies: list[Artifact] = field(default_factory=list)
    policies: list[Artifact] = field(default_factory=list)


def experiment_of(
    config: IteratedConfig,
    arms: Sequence[Arm],
    insights: Insights | None,
    links: list[str],
    seconds: float,
    command: str,
) -> Experiment:
    """Figures with intervals over seeds, curves over labels and over rounds, and all that was made."""
    names = list(dict.fromkeys(arm.name for arm in arms))
    last = {name: [arm.points[-1] for arm in arms if arm.name == name] for name in names}
    starts = [arm.points[0].gold for arm in arms if arm.name == "standard"]
    gain = [b.gold - a.gold for a, b in zip(last["standard"], last["iterated"], strict=True)]
    figures = [figure_of("gold_start", "Mean gold reward of the policy that all start from.", starts)]
    for name in names:
        word = name.replace(" ", "_").lower()
        for what, words in _SHOWN.items():
            meaning = f"{words[0].upper()}{words[1:]}, {name}."
            figures.append(
                figure_of(f"{what}_{word}", meaning, [getattr(point, what) for point in last[name]], unit=what)
            )
        meaning = f"Rise of the proxy less rise of the gold reward, each in sd of the start's, {name}: above 0 the proxy is fooled."
        figures.append(figure_of(f"gap_{word}", meaning, [point.gap for point in last[name]], unit="sd"))
    figures.append(
        figure_of(
            "gold_gain", "Gold reward of iterated less standard, seed by seed: above 0 iterating helps.", gain, unit="gold",
            target="at least 0",
        )
    )  # fmt: skip
    opened = _opened(last, figures)
    return Experiment(
        title="Iterated RLHF against a gold reward",
        found=[_compared(figures), *opened],
        figures=figures,
        arms=[{"name": name, "labels": _budget(name, config), "method": _method(name, config)} for name in names],
        tables={"rounds": _rounds(arms)},
        curves=_curves(arms, insights),
        links=links,
        seeds=config.num_seeds,
        seconds=seconds,
        command=command,
    )


def _method(name: str, config: IteratedConfig) -> str:
    return "ppo" if name.startswith("ppo") else config.method


def _budget(name: str, config: IteratedConfig) -> int:
    return config.kl_off_labels if name.startswith("ppo") else config.budget


def _mean(figures: Sequence[Figure], name: str) -> float | None:
    return next(figure.mean for figure in figures if figure.name == name)


def _compared(figures: Sequence[Figure]) -> str:
    found = next(figure for figure in figures if figure.name == "gold_gain")
    means = _mean(figures, "gold_iterated") or 0.0, _mean(figures, "gold_standard") or 0.0
    told = f"Iterated RLHF ends at gold {means[0]:.2f}, standard RLHF with as many labels at {means[1]:.2f}"
    return f"{told}: {_difference(found)}."


def _opened(last: dict[str, list[Point]], figures: list[Figure]) -> list[str]:
    """Whether the gap between proxy and gold opens without KL; adds its figure."""
    if "ppo without KL" not in last:
        return []
    with_kl, without = last["ppo with KL"], last["ppo without KL"]
    wider = [b.gap - a.gap for a, b in zip(with_kl, without, strict=True)]
    meaning = "Gap between a proxy of few labels and gold without KL less with it, in sd of the start's: above 0 it opens without KL."
    figure = figure_of("gap_opened", meaning, wider, unit="sd", target="above 0")
    figures.append(figure)
    gaps = [sum(point.gap for point in points) / len(points) for points in (without, with_kl)]
    return [
        f"Without KL a proxy of {without[0].labels} labels overstates its rise by {gaps[0]:.2f} sd, with KL by {gaps[1]:.2f}: "
        f"{_difference(figure)}."
    ]


def _difference(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return f"a difference of {figure.mean:+.2f} in one seed, which says little"
    clear = (
        "the interval leaves out 0"
        if figure.low > 0 or figure.high < 0
        else "the interval holds 0, so neither is shown better"
    )
    return f"difference {figure.mean:+.2f} [{figure.low:+.2f}, {figure.high:+.2f}] over {figure.n} seeds; {clear}"


def _rounds(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    return [
        {
            "arm": arm.name, "seed": arm.seed, "round": number, "labels": point.labels, "gold": point.gold,
            "gold_gain_sd": point.gold_gain, "proxy_gain_sd": point.proxy_gain, "gap_sd": point.gap, "kl": point.kl,
            "length": point.length,
        }
        for arm in arms
        for number, point in enumerate(arm.points)
    ]  # fmt: skip


def _curves(arms: Sequence[Arm], insights: Insights | None) -> list[Curves]:
    main = [arm for arm in arms if not arm.name.startswith("ppo")]

    def rows(some: Sequence[Arm], x: Callable[[Point], float], y: Callable[[Point], float]) -> list[dict[str, Any]]:
        return [
            {"arm": arm.name, "seed": arm.seed, "x": x(point), "y": y(point)} for arm in some for point in arm.points
        ]

    curves = [
        Curves(
            title="Gold reward by labels spent", meaning="Each policy on held-out prompts; higher is better.", x="gold labels",
            y="gold reward", rows=rows(main, lambda one: one.labels, lambda one: one.gold),
        ),
        Curves(
            title="Gap by distance", meaning="Above 0 the proxy believes in a rise that the gold reward does not see.",
            x="square root of KL from the start (nats per reply)", y="proxy − gold rise (sd)",
            rows=rows(arms, lambda one: max(one.kl, 0.0) ** 0.5, lambda one: one.gap),
        ),
    ]  # fmt: skip
    if insights and insights.effects:
        curves.append(
            Curves(
                title="Features of the proxies, round by round",
                meaning="Exact mean effect of the first proxy's strongest features and of their matches later (first seed): "
                "reward with the feature − without it.",
                x="round", y="effect (sd of the proxy's rewards)", rows=insights.effects,
            )
        )  # fmt: skip
    if insights and insights.cells:
        curves.append(
            Curves(
                title="Tones and genres, round by round",
                meaning="Mean reward of the first map's poems of each tone and genre by each round's proxy (first seed).",
                x="round", y="reward (sd of the poems')", rows=insights.cells,
            )
        )  # fmt: skip
    return curves
