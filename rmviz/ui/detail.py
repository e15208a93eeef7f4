"""One feature's page: what it does to the reward, the texts and tokens it fires on, histograms and neighbours."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from rmviz.features.read import By
from rmviz.plots.captions import caption
from rmviz.plots.features import activation_histogram, effect_histogram
from rmviz.plots.tokens import escaped, examples_html
from rmviz.store.artifact import Artifact
from rmviz.ui import cached, export, labels, names, repair, router, style
from rmviz.ui.tables import RANKINGS, ROW_CLICK, clicked, neighbour_columns, record
from rmviz.ui.words import counted, interval, number, percent, plain, q_value

NAMES: dict[By, str] = {"mean": "mean over all texts", "firing": "where it fires", "margin": "on the margin of pairs"}


def feature_detail(
    features: Artifact, table: pd.DataFrame, feature: int, by: By, choose: Callable[[int], None]
) -> None:
    """Draw one feature; `choose` opens another one (a neighbour)."""
    row = record(table, table["feature"].tolist().index(feature))
    page = cached.feature_page(features, feature)
    label = names.labels(names.sae_of(features)).get(feature)
    st.html(
        f'<div class="rm"><h3 style="padding:0;margin:0">Feature {feature}{labels.heading(label)}</h3>{_chips(row)}'
        f'<p style="margin:.35rem 0 .2rem">{sentence(row)}</p>{effects_table(row, by)}{_figures(row)}</div>'
    )
    labels.told(features, feature, label)
    with st.container(horizontal=True, vertical_alignment="center"):
        labels.editor(features, feature, label)
        _playground_link(features, feature, page)
        export.json_button(
            "JSON",
            {"artifact": features.id, "feature": feature, "summary": _json_row(row), "page": page},
            f"feature-{feature}",
            "feature-json",
        )
        repairing = repair.toggle()
    if repairing:
        repair.panel(features, table, feature)
    st.html(
        f"<h4 style='margin:0'>Where it fires, strongest first</h4><div class='rm rm-examples'>"
        f"{examples_html(strongest_first(page['examples']), css=False)}</div>"
    )
    st.caption(caption("examples", n_texts=len(page["examples"]), seed=_seed(features)))
    _histograms(page, feature)
    st.html(f"<h4 style='margin:0'>Tokens it fires on</h4>{tokens_table(page['tokens'])}")
    _neighbours(table, page["neighbours"], feature, by, choose)


def sentence(row: Mapping[str, Any]) -> str:
    """HTML: what the feature does, in one sentence with its interval and n."""
    effect, low, high = (row[f"firing_effect{end}"] for end in ("", "_low", "_high"))
    where = f"{interval(low, high)}, n = {counted(int(row['num_texts']), 'text')}"
    if effect != effect:
        return "It fires in none of the texts."
    if low <= 0 <= high:
        return f"Where it fires, its effect cannot be told from 0 ({number(effect, signed=True)} {where})."
    verb = "raises" if effect > 0 else "lowers"
    return f'Where it fires, it <span class="{style.sign_class(effect)}">{verb} the reward</span> ' + (
        f"by {number(abs(effect))} on average {where}."
    )


def effects_table(row: Mapping[str, Any], by: By) -> str:
    """HTML: its three mean effects with interval, q and n; the one ranked by is set off."""
    lines = []
    for kind in ("mean", "firing", "margin"):
        effect = row[f"{kind}_effect"]
        name = f"<b>{NAMES[kind]}</b>" if kind == by else NAMES[kind]
        cells = (
            f'<span class="{style.sign_class(effect)}">{number(effect, signed=True)}</span>',
            interval(row[f"{kind}_effect_low"], row[f"{kind}_effect_high"]),
            q_value(row[f"{kind}_effect_q"]),
            _count(row, kind),
        )
        lines.append(f"<tr><td>{name}</td>" + "".join(f'<td class="num">{cell}</td>' for cell in cells) + "</tr>")
    head = "<tr><th>effect</th><th></th><th>95 % interval</th><th>q</th><th>n</th></tr>"
    return f'<table class="rm-table">{head}{"".join(lines)}</table>'


def strongest_first(examples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Examples from the strongest activation to the weakest."""
    return sorted(examples, key=lambda example: -float(example["activation"]))


def tokens_table(tokens: Sequence[Mapping[str, Any]]) -> str:
    """HTML: the tokens it fires on, how often, how strongly."""
    cells = [
        f'<span class="rm-chip" title="{int(t["count"]):,} times, mean activation {number(t["mean_activation"])}">'
        f'{_visible(str(t["token"]))} <span class="muted num">{int(t["count"]):,}</span></span>'
        for t in tokens
    ]
    return f'<div class="rm">{"".join(cells) or "none"}</div>'


def _visible(token: str) -> str:
    return escaped(token).replace("\n", "↵").replace(" ", "·") or "∅"


def _count(row: Mapping[str, Any], kind: str) -> str:
    if kind == "margin":
        return counted(int(row["num_pairs"]), "pair")
    if kind == "firing":
        return counted(int(row["num_texts"]), "text")
    return counted(round(row["num_texts"] / row["text_share"]), "text") if row["text_share"] else "–"


def _chips(row: Mapping[str, Any]) -> str:
    words = [
        f'<span class="rm-chip">{escaped(word)}</span>' for word in str(row["top_tokens"] or "").split(" · ") if word
    ]
    marks = [
        ("template", "template: fires mostly on role tags and punctuation"),
        ("ever_firing", "ever-firing: fires in nearly every text"),
    ]
    words += [f'<span class="rm-chip muted">⚑ {text}</span>' for name, text in marks if row[name]]
    return f'<div style="margin-top:.3rem">{"".join(words)}</div>'


def _figures(row: Mapping[str, Any]) -> str:
    return style.figures(
        [
            ("fires on", percent(row["density"]), "of all tokens"),
            ("fires in", percent(row["text_share"]), "of all texts"),
            ("strongest activation", number(row["max_activation"]), "SAE units"),
            (
                "effective n",
                number(round(row["effective_n"])) if row["effective_n"] == row["effective_n"] else "–",
                "texts",
            ),
            ("first-order guess", number(row["mean_first_order"], signed=True), "of the mean effect"),
        ]
    )


def _histograms(page: Mapping[str, Any], feature: int) -> None:
    acts, effects = page["histogram"], page["effect_histogram"]
    left, right = st.columns(2)
    with left:
        st.plotly_chart(style.compact(activation_histogram(acts), 210), key=f"acts-{feature}", config=style.PLAIN_CHART)
        st.caption(plain(caption("activation_histogram", n_tokens=int(sum(acts["counts"])))))
    with right:
        figure = style.compact(effect_histogram(effects), 210)
        st.plotly_chart(figure, key=f"effects-{feature}", config=style.PLAIN_CHART)
        st.caption(plain(caption("effect_histogram", n_texts=int(sum(effects["counts"])))))


def _neighbours(
    table: pd.DataFrame,
    neighbours: Mapping[str, Sequence[Mapping[str, Any]]],
    feature: int,
    by: By,
    choose: Callable[[int], None],
) -> None:
    st.html("<h4 style='margin:.4rem 0 0'>Nearest features</h4>")
    words = pd.DataFrame(
        {"top_tokens": table["top_tokens"].to_numpy(), "effect": table[f"{by}_effect"].to_numpy()},
        index=table["feature"].to_numpy(),
    )
    sides = (
        ("decoder", "cosine", "Alike in direction", "Cosine of the decoder rows."),
        ("cofiring", "phi", "Firing together", "Phi coefficient of firing on the same tokens."),
    )
    for column, (name, measure, title, meaning) in zip(st.columns(2), sides, strict=True):
        rows = pd.DataFrame(neighbours.get(name, []), columns=["feature", measure]).join(words, on="feature")
        known = [other if other in words.index else feature for other in rows["feature"].tolist()]
        with column:
            st.caption(f"{title} · click to open · effect: {RANKINGS[by].lower()}")
            key = f"near-{name}-{feature}"
            st.dataframe(
                rows,
                key=key,
                hide_index=True,
                column_config=neighbour_columns(measure, meaning),
                selection_mode=ROW_CLICK,
                row_height=30,
                on_select=lambda key=key, known=known: choose(clicked(key, known, feature)),
                height=min(30 * len(rows) + 38, 280),
            )


def _playground_link(features: Artifact, feature: int, page: Mapping[str, Any]) -> None:
    effects, sae, model = (*features.parents, "", "", "")[:3]
    strongest = strongest_first(page["examples"])[:1]
    params = (
        {
            "model": model,
            "sae": sae,
            "show": str(feature),
            "effects": effects,
            "text": str(strongest[0]["text_id"]),
            "mode": "text",
        }
        if strongest
        else {}
    )
    if params and all(params.values()):
        router.page_link("playground", "Try its strongest text in the Playground", params, ":material/tune:")


def _seed(features: Artifact) -> int | None:
    seed = features.config.get("seed")
    return seed if isinstance(seed, int) else None


def _json_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as JSON values; None for what is not finite."""
    plain = {name: value.item() if hasattr(value, "item") else value for name, value in row.items()}
    return {name: None if isinstance(value, float) and value != value else value for name, value in plain.items()}
