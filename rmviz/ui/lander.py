"""The lander's page: a price per step, what flies best for it, where it lands, and where the best flight changes."""

import math
from collections.abc import Mapping
from fractions import Fraction

import pandas as pd
import streamlit as st

from rmviz.errors import ConfigError
from rmviz.plots import lander as plots
from rmviz.ui import export, frame, pickers
from rmviz.ui.words import counted, listed, number, percent, plain
from rmviz.world import lander as world
from rmviz.world.lander import Lander, Regime

LOWEST = Fraction(-2)
"""Where the slider begins: here any end will do, and quickly."""

STEPS = [
    f"-{digits * scale:g}" for scale in (1, 0.1, 0.01, 0.001) for digits in (20, 15, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2.5)
]
STEPS = sorted({step for step in STEPS if -2 <= float(step) <= -0.005}, key=float)
"""Step rewards to choose from: evenly spread over their logarithm."""

PRESETS = ("-0.5", "-0.2", "-0.1", "-0.05", "-0.04", "-0.02")
_STEP, _FLIGHTS = "lander-step", 1000


@frame.fragment
def fly() -> None:
    """The settings, the map beside the curve, and the table of bounds."""
    lander = _world()
    ranges = _regimes(lander.cells, lander.slip, LOWEST)
    step = _step_reward()
    now = next(one for one in reversed(ranges) if one.low <= step)
    left, right = st.columns([3, 2], gap="large")
    with left:
        _map(lander, now, step)
    with right:
        _curve(lander, ranges, step)
        _sentence(lander, now)
    _bounds(lander, ranges)


@st.cache_data(show_spinner="Finding every best policy …", max_entries=20)
def _regimes(cells: Mapping[world.Place, str], slip: Fraction, lowest: Fraction) -> list[Regime]:
    return world.regimes(Lander(cells, slip), lowest)


def _world() -> Lander:
    with st.popover("Change the map", icon=":material/edit:"):
        text = st.text_area(
            "Map", world.MAP, height=150, key="lander-map", max_chars=400,
            help="`L` start, `G` goal (+1), `S` sandstorm (−1), `#` rock, `.` free; a line per row.",
        )  # fmt: skip
        slip = st.slider(
            "Slip", 0.0, 0.9, 0.2, 0.05, key="lander-slip", help="How often a move goes to one of its two sides."
        )
    try:
        return Lander.parsed(text, Fraction(str(slip)))
    except ConfigError as error:
        st.warning(f"{str(error)[:1].upper()}{str(error)[1:]}. The map that comes with the world is shown.")
        return Lander.parsed()


def _step_reward() -> Fraction:
    """The slider's value; it stands in the URL as `step`."""
    wanted = pickers.arrived("step")
    if wanted is not None:
        try:
            st.session_state[_STEP] = _nearest(wanted)
        except ValueError:
            st.warning(f"The step reward must be a number below 0, got “{plain(wanted[:40])}”; −0.04 is shown.")
    st.session_state.setdefault(_STEP, "-0.04")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        value = st.select_slider(
            "Step reward", STEPS, format_func=_signed, key=_STEP, persist_state="session",
            help="What each move is paid. The end is worth +1 on the goal and −1 in a sandstorm.",
        )  # fmt: skip
        for preset in PRESETS:
            st.button(_signed(preset), key=f"lander{preset}", on_click=_set, args=(preset,))
    pickers.keep_in_url("step", value)
    return Fraction(value)


def _nearest(wanted: str) -> str:
    value = float(wanted)
    if not -math.inf < value < 0:
        raise ValueError(wanted)
    return min(STEPS, key=lambda step: abs(math.log(float(step) / value)))


def _signed(step: str) -> str:
    return step.replace("-", "−")


def _set(value: str) -> None:
    st.session_state[_STEP] = value


def _map(lander: Lander, now: Regime, step: Fraction) -> None:
    values = {place: float(now.solution.value(place, step)) for place in lander.free}
    values |= {place: float(world.ENDS[lander.cells[place]]) for place in lander.ends}
    flown = world.landings(lander, now.solution.policy, _FLIGHTS)
    landed = {place: int((flown.ends == i).sum()) for i, place in enumerate(lander.ends)}
    subtitle = (
        f"framed: moves that change at {number(float(now.low))} · {counted(_FLIGHTS, 'simulated flight')}, seed 0"
    )
    figure = plots.lander_map(lander.cells, values, now.solution.policy, landed, marked=now.flipped, subtitle=subtitle)
    st.plotly_chart(figure, key="lander-figure", theme=None)
    st.caption(
        "Value: expected sum of rewards from a cell on, under the best policy. An arrow is the best move; "
        f"{percent(float(lander.slip))} of moves slip to one of their two sides. Values are exact; flights are drawn."
    )


def _curve(lander: Lander, ranges: list[Regime], step: Fraction) -> None:
    goal = [_on_goal(lander, one) for one in ranges]
    figure = plots.lander_curve(
        [float(one.low) for one in ranges], goal, float(step), subtitle="exact; dotted: the step reward chosen",
        lowest=float(LOWEST),
    )  # fmt: skip
    st.plotly_chart(figure, key="lander-curve", theme=None)


def _sentence(lander: Lander, now: Regime) -> None:
    steps = float(now.solution.steps[lander.start])
    st.markdown(
        f"Between **{number(float(now.low))}** and **{number(float(now.high))}** per step the best policy is the same: it "
        f"ends on a goal in **{percent(_on_goal(lander, now))}** of flights, after **{number(steps)}** moves on average."
    )


def _bounds(lander: Lander, ranges: list[Regime]) -> None:
    st.subheader("Where the best policy changes")
    table = pd.DataFrame({
        "from": [float(one.low) for one in ranges],
        "to": [float(one.high) for one in ranges],
        "exactly": ["" if one.low == LOWEST else _exact(one.low) for one in ranges],
        "changes": [_changes(ranges[i - 1], one) if i else "" for i, one in enumerate(ranges)],
        "goal": [100 * _on_goal(lander, one) for one in ranges],
        "moves": [float(one.solution.steps[lander.start]) for one in ranges],
    })  # fmt: skip
    config = {
        "from": st.column_config.NumberColumn("Step reward from", format="%.6f"),
        "to": st.column_config.NumberColumn("to", format="%.6f"),
        "exactly": st.column_config.TextColumn("Bound as a fraction", help="Long fractions are left out."),
        "changes": st.column_config.TextColumn("What changes there", width="large"),
        "goal": st.column_config.NumberColumn("On a goal", format="%.1f %%"),
        "moves": st.column_config.NumberColumn("Moves to the end", format="%.2f"),
    }
    st.dataframe(table, column_config=config, hide_index=True, key="lander-bounds")
    st.caption(
        "All ranges of step rewards with one best policy. Under a fixed policy a value is a line in the step reward, so each "
        "bound is where two lines cross: a fraction, not an estimate."
    )
    export.table_buttons(table, "lander-bounds", "lander-bounds")


def _changes(before: Regime, after: Regime) -> str:
    old, new = before.solution.policy, after.solution.policy
    return listed([f"row {i + 1}, column {j + 1}: {old[i, j]} → {new[i, j]}" for i, j in after.flipped])


def _exact(value: Fraction) -> str:
    words = f"{value.numerator}/{value.denominator}".replace("-", "−")
    return words if len(words) <= 24 else "–"


def _on_goal(lander: Lander, one: Regime) -> float:
    return float(sum(chance for place, chance in one.solution.ends.items() if lander.cells[place] == "G"))
