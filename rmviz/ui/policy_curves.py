"""Over-optimisation: proxy and gold reward over steps, and against the distance from the start."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import streamlit as st

from rmviz.plots.captions import caption
from rmviz.plots.policies import run_bands
from rmviz.store.artifact import Artifact
from rmviz.training.looks import change_of, mean_bands
from rmviz.ui import export, pickers, policy_tables, style
from rmviz.ui.words import counted, interval, listed, number, plain

REWARDS = {"reward": "Proxy reward", "gold": "Gold reward"}
FURTHER = {
    "kl": ("KL per reply", "nats"),
    "entropy": ("Entropy", "nats per token"),
    "length": ("Length", "tokens"),
    "ended": ("Ended", "share of replies"),
    "distinct_2": ("Distinct pairs", "share"),
    "self_bleu": ("Self-BLEU", "0 to 1"),
}
MAX_RUNS = 7


def curves(artifact: Artifact, artifacts: Sequence[Artifact]) -> None:
    """The figures of this run, and of others that are laid over it."""
    runs = _runs(artifact, artifacts)
    verdict(artifact)
    tables = {name: run_table(run) for name, run in runs.items()}
    shown = [name for name in REWARDS if any(f"{name}_mean" in table for table in tables.values())]
    n = int((policy_tables.samples(artifact)["step"] == policy_tables.steps(artifact)[0]).sum())
    facts = f"n = {counted(n, 'prompt')} at each look"
    if not shown:
        st.info("This run was trained without a reward and watched without a gold one; its other figures are below.")
    for place, (column, axis) in enumerate((("step", "steps"), ("root_kl", "√KL per reply (√nats)")) if shown else ()):
        boxes = st.columns(2, gap="medium")
        for box, name in zip(boxes, shown, strict=False):
            with box:
                _figure(tables, name, column, REWARDS[name], axis, "reward units", facts, f"{name}-{place}")
    if shown:
        st.caption(
            plain(
                f"{caption('policy_rewards', source=artifact.id)} {caption('policy_kl')} Proxy and gold have panels of their own, "
                "each in its own units: their raw rewards mean nothing to each other."
            )
        )
    with st.expander("KL, entropy, length, diversity", expanded=not shown):
        boxes = st.columns(3, gap="medium")
        there = [name for name in FURTHER if any(f"{name}_mean" in table for table in tables.values())]
        for place, name in enumerate(there):
            with boxes[place % 3]:
                title, unit = FURTHER[name]
                _figure(tables, name, "step", title, "steps", unit, "", f"further-{name}", small=True)
    whole = pd.concat([table.assign(run=name) for name, table in tables.items()], ignore_index=True)
    export.table_buttons(whole, f"{artifact.name}-looks", "policy-looks")


def verdict(artifact: Artifact) -> None:
    """Whether gold fell since its peak while the proxy rose: said only where both intervals leave out 0."""
    measured, at = policy_tables.measured(artifact), policy_tables.steps(artifact)
    if not {"reward", "gold"} <= set(measured) or len(at) < 2:
        return
    table, samples = policy_tables.looks(artifact), policy_tables.samples(artifact)
    peak = int(table["step"].iloc[int(table["gold"].to_numpy().argmax())])
    rise = change_of(samples, "reward", at[0], at[-1])
    ends = f"The proxy changed by {number(rise.value, signed=True)} {interval(rise.low, rise.high)} from first to last look"
    if peak == at[-1]:
        st.caption(
            plain(f"{ends}; the gold reward was highest at the last look: no over-optimisation is seen in this run.")
        )
        return
    fall = change_of(samples, "gold", peak, at[-1])
    kl = float(table.loc[table["step"] == peak, "kl_reply"].iloc[0])
    words = (
        f"{ends}. The gold reward was highest at step {peak:,} (KL {number(kl)} nats per reply) and has changed by "
        f"{number(fall.value, signed=True)} {interval(fall.low, fall.high)} since (the peak was chosen after the fact, which "
        f"flatters it; n = {fall.n})."
    )
    since = change_of(samples, "reward", peak, at[-1])
    if fall.high < 0 < since.low:
        mark = "Over-optimised: since then gold fell while the proxy rose"
    elif fall.high < 0 and since.high < 0:
        mark = "Both fell: the proxy has followed gold down"
    elif fall.high < 0:
        mark = "Gold fell; what the proxy did meanwhile cannot be told from none"
    else:
        mark = "The fall of gold cannot be told from none"
    meanwhile = (
        f" The proxy changed by {number(since.value, signed=True)} {interval(since.low, since.high)} since that step."
    )
    (st.warning if fall.high < 0 < since.low else st.caption)(plain(f"{mark}. {words}{meanwhile}"))


def run_table(artifact: Artifact) -> pd.DataFrame:
    """One row per look: `step`, `root_kl`, and of each measure `…_mean`, `…_low`, `…_high` (no interval where it is of all)."""
    looks, samples = policy_tables.looks(artifact), policy_tables.samples(artifact)
    table = pd.DataFrame({"step": looks["step"], "root_kl": np.sqrt(looks["kl_reply"].clip(lower=0))})
    for name in (*REWARDS, *FURTHER):
        if name in samples and samples[name].notna().any():
            bands = mean_bands(samples, name).set_index("step").reindex(table["step"])
            for end in ("mean", "low", "high"):
                table[f"{name}_{end}"] = bands[end].to_numpy(float)
        elif name in looks:
            table[f"{name}_mean"], table[f"{name}_low"], table[f"{name}_high"] = looks[name], np.nan, np.nan
    return table


def _runs(artifact: Artifact, artifacts: Sequence[Artifact]) -> dict[str, Artifact]:
    """This run and those that are laid over it, by name; the choice stands in the URL."""
    watched = policy_tables.watched(artifacts)
    names = pickers.labels(watched)
    others = [one.id for one in watched if one.id != artifact.id]
    key = f"policy-with-{artifact.id}"
    wanted = pickers.arrived("with")
    if wanted is not None:
        known = [part for part in wanted.split(",") if part in others][:MAX_RUNS]
        st.session_state[key] = known
        if len(known) < len([part for part in wanted.split(",") if part]):
            st.warning("Some of the runs that the link lays over this one are not in this workspace.")
    picked: list[str] = []
    if others:
        picked = st.multiselect(
            "Lay over it", others, format_func=lambda one: names[one], key=key, max_selections=MAX_RUNS,
            placeholder="other runs: with and without KL, other seeds, other methods",
        )  # fmt: skip
    pickers.keep_in_url("with", ",".join(picked) or None)
    chosen = {names[one.id]: one for one in watched if one.id in picked}
    unlike = [name for name, one in chosen.items() if one.config.get("reward") != artifact.config.get("reward")]
    if unlike:
        st.caption(
            plain(f"{listed(unlike)}: trained for another reward; compare the shape of its proxy, not its height.")
        )
    return {names[artifact.id]: artifact, **chosen}


def _figure(
    tables: Mapping[str, pd.DataFrame], name: str, column: str, title: str, x: str, y: str, facts: str, key: str,
    *, small: bool = False,
) -> None:  # fmt: skip
    runs = {
        run: pd.DataFrame(
            {
                "x": table[column], "at": [f"step {step:,}" for step in table["step"]],
                **{end: table[f"{name}_{end}"] for end in ("mean", "low", "high")},
            }
        )
        for run, table in tables.items()
        if f"{name}_mean" in table
    }  # fmt: skip
    figure = run_bands(runs, title=title, x=x, y=y, facts=facts, height=250 if small else 330)
    if small:
        style.compact(figure, 240)
    st.plotly_chart(figure, key=f"policy-{key}", config=style.PLAIN_CHART)
