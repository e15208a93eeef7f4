"""Which features of the reward model drift while a policy is trained, and how much of the reward each stands for."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from rmviz.plots.captions import caption
from rmviz.plots.policies import drift_bars
from rmviz.store.artifact import Artifact
from rmviz.training.looks import FIRINGS, change_of
from rmviz.ui import export, names, pickers, policy_tables, router, style
from rmviz.ui.tables import ROW_CLICK, clicked
from rmviz.ui.words import SIGN, counted, interval, number, percent, plain

FEATURE = "_policy-feature"
"""Session key: the feature whose link is shown."""

SORTS = {"worth": "By what it stands for", "p": "By certainty", "up": "Risen most", "down": "Fallen most"}
_BARS = 16


def drift(artifact: Artifact, artifacts: Sequence[Artifact]) -> None:
    """Two looks, the features that changed between them, and what that is worth."""
    if FIRINGS not in artifact.files:
        st.info(
            "No SAE read the replies of this run. Give the job an SAE of the reward model (its setting sae), and which "
            "features drift is seen here.",
            icon=":material/lightbulb:",
        )
        return
    sae = str(artifact.config.get("sae") or "")
    first, last = _two_looks(artifact)
    if first == last:
        st.info("The two looks are the same: nothing can have changed. Choose another.", icon=":material/lightbulb:")
        return
    effects = next((one for one in artifacts if one.kind == "effects" and sae in one.parents), None)
    features = _features_of(effects, sae, artifacts)
    table = policy_tables.drift(artifact, first, last, effects)
    if table.empty:
        st.info("No feature fires at either look.", icon=":material/lightbulb:")
        return
    called = {**names.names_of_features(features), **{f: one.label for f, one in names.labels(sae).items()}}
    n = int((policy_tables.samples(artifact)["step"] == first).sum())
    if effects is None:
        st.info(
            "What these features do to the reward is not known yet: no effects of this SAE have been measured here.",
            icon=":material/lightbulb:",
        )
        router.page_link("train", "Measure the effects", {"kind": "effects", "sae": sae}, ":material/rocket_launch:")
    else:
        _worth(artifact, artifacts, table, first, last, effects, called, n)
    _table(artifact, table, called, features, first, last, n)


def _two_looks(artifact: Artifact) -> tuple[int, int]:
    at = [str(step) for step in policy_tables.steps(artifact)]
    chosen = []
    for box, (param, title, default) in zip(
        st.columns([1, 1, 3]), (("from", "From step", at[0]), ("to", "To step", at[-1])), strict=False
    ):
        key = f"policy-{param}-{artifact.id}"
        wanted = pickers.arrived(param)
        if wanted in at:
            st.session_state[key] = wanted
        if st.session_state.get(key) not in at:
            st.session_state[key] = default
        picked = str(box.selectbox(title, at, key=key, persist_state="session"))
        pickers.keep_in_url(param, None if picked == default else picked)
        chosen.append(int(picked))
    return chosen[0], chosen[1]


def _features_of(effects: Artifact | None, sae: str, artifacts: Sequence[Artifact]) -> Artifact | None:
    """The feature pages of these effects, else of any of this SAE."""
    made = [one for one in artifacts if one.kind == "features"]
    own = next((one for one in made if effects is not None and effects.id in one.parents), None)
    return own or next((one for one in made if sae in one.parents), None)


def _worth(
    artifact: Artifact, artifacts: Sequence[Artifact], table: pd.DataFrame, first: int, last: int, effects: Artifact,
    called: dict[int, str], n: int,
) -> None:  # fmt: skip
    """How much of the reward's change the drift stands for, in words and as bars."""
    known = table[table["worth"].notna()]
    total, missing = float(known["worth"].sum()), len(table) - len(known)
    own = next((one for one in effects.parents if one.startswith("reward-model-")), "")
    column = next((name for name in ("reward", "gold") if artifact.config.get(name) == own and own), "")
    items = [("all features together", number(total, signed=True), "reward units, first order")]
    words = ""
    if missing:
        words = f" {counted(missing, 'feature')} of those below fire in none of the texts of {effects.name}: their worth is not known."
    if column and column in policy_tables.measured(artifact):
        rise = change_of(policy_tables.samples(artifact), column, first, last)
        items.insert(
            0, (f"{'proxy' if column == 'reward' else 'gold'} reward’s change", number(rise.value, signed=True), "")
        )
        items[0] = (*items[0][:2], f"{interval(rise.low, rise.high)}, n = {rise.n}")
        if rise.low > 0 or rise.high < 0:
            items.append(("share of the change", percent(total / rise.value), "of their sum"))
    else:
        name = policy_tables.scorer_name(own, artifacts)
        words += f" The effects are those of {name}, which is not what this run was paid or watched by."
    st.html(style.figures(items))
    left, right = st.columns([6, 5], gap="medium")
    with left:
        bars = known.head(_BARS)
        facts = f"{len(bars)} of {len(known)} features, steps {first:,} → {last:,}, n = {counted(n, 'prompt')}"
        st.plotly_chart(drift_bars(bars, called, facts=facts), key=f"drift-{artifact.id}", config=style.PLAIN_CHART)
    with right:
        st.caption(plain(f"{caption('policy_drift', source=effects.id)}{words}"))


def _table(
    artifact: Artifact,
    table: pd.DataFrame,
    called: dict[int, str],
    features: Artifact | None,
    first: int,
    last: int,
    n: int,
) -> None:
    sorts = {name: title for name, title in SORTS.items() if name != "worth" or "worth" in table}
    sort = pickers.choice("Sort", sorts, "sort", next(iter(sorts)), label_visibility="collapsed")
    shown = ordered(table, sort).assign(fires=lambda some: [called.get(int(f), "") for f in some["feature"]])
    ids, key = shown["feature"].tolist(), f"drift-table-{artifact.id}-{first}-{last}-{sort}"
    column = st.column_config
    if features is not None:
        base = f"features?features={features.id}&feature="
        shown = shown.assign(page=[f"{base}{feature}" for feature in ids])
    effect_help = "Exact, by ablation, in the texts of the scan."
    st.dataframe(
        shown, key=key, hide_index=True, lazy=False, height=min(35 * len(shown) + 38, 460), selection_mode=ROW_CLICK,
        on_select=lambda: _choose(clicked(key, ids, st.session_state.get(FEATURE))),
        column_order=[
            "page", "feature", "fires", "worth", "worth_low", "worth_high", "change", "low", "high", "q", "share_before",
            "share_after", "before", "after", "firing_effect",
        ],
        column_config={
            "page": column.LinkColumn("page", width=56, display_text="open"),
            "feature": column.NumberColumn("id", width=56, format="%d"),
            "fires": column.TextColumn("fires on", width=150),
            "worth": column.NumberColumn(
                "stands for", width=84, format="%+.3g", help=f"Unit effect × change, in reward units; first order. {SIGN}"
            ),
            "worth_low": column.NumberColumn("from", width=70, format="%+.3g"),
            "worth_high": column.NumberColumn("to", width=70, format="%+.3g"),
            "change": column.NumberColumn("change", width=74, format="%+.3g", help="Mean strongest activation, later − earlier."),
            "low": column.NumberColumn("low", width=70, format="%+.3g", help="95 %, Student, paired over prompts."),
            "high": column.NumberColumn("high", width=70, format="%+.3g"),
            "q": column.NumberColumn("q", width=60, format="%.3f", help="Benjamini–Hochberg over all features listed."),
            "share_before": column.NumberColumn("fired", width=64, format="percent", help="Share of replies, earlier look."),
            "share_after": column.NumberColumn("fires in", width=64, format="percent", help="Share of replies, later look."),
            "before": column.NumberColumn("before", width=70, format="%.3g"),
            "after": column.NumberColumn("after", width=70, format="%.3g"),
            "firing_effect": column.NumberColumn("effect", width=76, format="%+.3g", help=f"{effect_help} {SIGN}"),
        },
    )  # fmt: skip
    sure = int((table["q"] <= 0.05).sum())
    st.caption(
        f"{counted(len(table), 'feature')} that fire at either look; {sure} with q ≤ 0.05. Change of the mean strongest activation "
        f"in a reply (0 where silent), step {first:,} → {last:,}; n = {counted(n, 'prompt')}, paired."
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        chosen = st.session_state.get(FEATURE)
        feature = int(str(chosen)) if chosen in ids else int(ids[0])
        if features is None:
            st.caption("Pages of features are made by `rmviz effects` and `rmviz features`.", width="content")
        else:
            params = {"features": features.id, "feature": str(feature)}
            title = f"Open feature {names.feature_name(feature, {f: plain(name) for f, name in called.items()})}"
            router.page_link("features", title, params, ":material/leaderboard:")
            st.caption("Click a row to choose another, or its link.", width="content")
        export.table_buttons(shown.drop(columns="page", errors="ignore"), f"{artifact.name}-drift", "policy-drift")


def _choose(feature: int | None) -> None:
    st.session_state[FEATURE] = feature


def ordered(table: pd.DataFrame, sort: str) -> pd.DataFrame:
    """Drifting features in one of `SORTS`."""
    by = {"p": table["p"], "up": -table["change"], "down": table["change"]}.get(sort)
    by = -table["worth"].abs().fillna(-1) if by is None else by
    return table.iloc[np.argsort(by.to_numpy(float), kind="stable")].reset_index(drop=True)
