"""Further reward models on the Playground's texts: never on one raw axis, because their scales mean nothing to each other."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st

from rmviz.backend.wire import ReadText, ReplacedError
from rmviz.errors import RmvizError
from rmviz.plots.prefixes import Curve
from rmviz.plots.tokens import escaped
from rmviz.store.artifact import Artifact
from rmviz.ui import cached, drafts, live, pickers, readings
from rmviz.ui.words import listed, number, plain, shortened

MAX_OTHERS = 4
AXES = {"own": "An axis each", "z": "Standard deviations"}


@dataclass(frozen=True)
class Spread:
    """A model's rewards over the texts of its newest scan."""

    mean: float
    deviation: float
    rewards: np.ndarray

    def z(self, reward: float | None) -> float | None:
        """The reward in standard deviations from the mean."""
        return None if reward is None or not math.isfinite(reward) else (reward - self.mean) / self.deviation

    def share_below(self, reward: float) -> float:
        """Share of the texts with a lower reward, ties by half."""
        return float(np.mean((self.rewards < reward) + 0.5 * (self.rewards == reward)))


def picked(models: Sequence[Artifact], model: Artifact) -> list[Artifact]:
    """Which models read along, chosen in a popover; their ids stand in the URL."""
    others = {one.id: one for one in models if one.id != model.id}
    if not others:
        return []
    if (wanted := pickers.arrived("also")) is not None:
        names = {one.name: one.id for one in reversed(list(others.values()))}
        ids = [part if part in others else names.get(part, "") for part in wanted.split(",")]
        st.session_state["pg-also"] = [i for i in dict.fromkeys(ids) if i][:MAX_OTHERS]
    chosen = [i for i in st.session_state.get("pg-also", []) if i in others]
    st.session_state["pg-also"] = chosen
    labels = pickers.labels(list(others.values()))
    with st.popover(f"More models · {len(chosen)}" if chosen else "More models", icon=":material/stacked_line_chart:"):
        found = st.multiselect(
            "Also read by", list(others), format_func=lambda i: labels.get(i, ""), key="pg-also",
            max_selections=MAX_OTHERS, help="Their rewards of the same texts, aligned by the characters of the reply.",
        )  # fmt: skip
    pickers.keep_in_url("also", ",".join(found) or None)
    return [others[i] for i in found]


def short_names(models: Sequence[Artifact]) -> dict[str, str]:
    """What to call each model in a small place: its name, with the end of its id where names repeat."""
    counts = Counter(model.name for model in models)
    return {m.id: m.name if counts[m.name] == 1 else f"{shortened(m.name, 18)} ({m.id[-4:]})" for m in models}


def read(others: Sequence[Artifact], draft: drafts.Draft) -> dict[str, list[ReadText]]:
    """What each model makes of the texts, by its id; one that cannot read them is named, and the others go on."""
    answers: dict[str, list[ReadText]] = {}
    for model in others:
        try:
            answers[model.id] = [
                live.prefixes(model.id, prompt, reply, f"also-{name}") for name, prompt, reply in draft.texts
            ]
        except ReplacedError:
            raise
        except RmvizError as error:
            st.warning(plain(f"{model.name} cannot read this: {error}"), icon=":material/error:")
    return answers


def spreads(models: Sequence[Artifact], artifacts: Sequence[Artifact]) -> dict[str, Spread]:
    """The spread of each model that has a scan, by its id."""
    found = {}
    for model in models:
        scan = next((a for a in artifacts if a.kind == "effects" and model.id in a.parents), None)
        if scan is None:
            continue
        rewards = cached.rewards(scan)["reward"].to_numpy(float)
        rewards = rewards[np.isfinite(rewards)]
        if len(rewards) > 1 and (deviation := float(rewards.std(ddof=1))) > 0:
            found[model.id] = Spread(float(rewards.mean()), deviation, rewards)
    return found


def table(
    draft: drafts.Draft, models: Sequence[Artifact], answers: Mapping[str, list[ReadText]], known: Mapping[str, Spread]
) -> None:
    """Each model's rewards in its own units, and in its own standard deviations where a scan tells them."""
    names, called = [name for name, _, _ in draft.texts], short_names(models)
    head = ["model", "format", *names, *([draft.comparison.title] if draft.comparison else [])]
    lines = []
    for model in (model for model in models if model.id in answers):
        read_by = answers[model.id]
        rewards: list[float | None] = [answer.reward for answer in read_by]
        spread = known.get(model.id)
        cells = [_cell(reward, spread.z(reward) if spread else None, spread) for reward in rewards]
        if (versus := draft.comparison) is not None:
            change = readings.difference(rewards[versus.plus], rewards[versus.minus])
            cells.append(_cell(change, change / spread.deviation if spread and change is not None else None, None))
        marks = "".join(
            f' <span class="muted">✂ {answer.num_cut:,} tokens cut</span>' for answer in read_by[:1] if answer.num_cut
        )
        row = [escaped(called[model.id]) + marks, escaped(read_by[0].info.format), *cells]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>")
    header = "".join(f"<th>{escaped(name)}</th>" for name in head)
    st.html(f'<div class="rm"><table class="rm-table"><tr>{header}</tr>{"".join(lines)}</table></div>')
    counts = {len(known[model.id].rewards) for model in models if model.id in known}
    if counts:
        n = listed([f"{count:,}" for count in sorted(counts)])
        st.caption(f"sd: standard deviations of that model's own rewards over the texts of its scan (n = {n}).")


def axes(models: Sequence[Artifact], known: Mapping[str, Spread]) -> str:
    """Own axes or standard deviations; the latter only where every model's spread is known."""
    called = short_names(models)
    without = [called[model.id] for model in models if model.id not in known]
    if without:
        st.caption(
            plain(
                f"Every model has its own axis: no scan tells the spread of {listed(without)}, so none are standardised."
            )
        )
        return "own"
    return pickers.choice("Rewards", AXES, "axes", "own", label_visibility="collapsed")


def standardised(curves: Sequence[Curve], spread: Spread) -> list[Curve]:
    """The same curves in standard deviations."""
    return [
        replace(curve, rewards=[(reward - spread.mean) / spread.deviation for reward in curve.rewards])
        for curve in curves
    ]


def _cell(reward: float | None, z: float | None, spread: Spread | None) -> str:
    words = f'<span class="num">{number(reward, signed=True)}</span>'
    if z is not None:
        above = f", above {100 * spread.share_below(reward):.0f} %" if spread and reward is not None else ""
        words += f' <span class="muted num">{number(z, signed=True)} sd{above}</span>'
    return words
