"""A probe of any kind as plain values, and as lines for the terminal."""

from collections.abc import Mapping
from typing import Any

from rmviz.probes.results import plain
from rmviz.store.artifact import Artifact
from rmviz.store.tables import load_table

NUM_FEATURES = 5
NUM_ENDS = 20


def told(artifact: Artifact) -> dict[str, Any]:
    """What a probe found: probe.json, and by its kind verdicts, strongest features, end tokens, or shares and groups."""
    info = artifact.read_json("probe.json")
    result = {"probe": artifact.id, "name": artifact.name, **info}
    if info["what"] == "tokens":
        table = load_table(artifact.path("tokens.parquet"))
        known = table[table["reward"].notna() & ~table["special"]]
        return result | {
            "highest": [plain(row) for row in known.head(NUM_ENDS).to_dict("records")],
            "lowest": [plain(row) for row in known.tail(NUM_ENDS).iloc[::-1].to_dict("records")],
        }
    if info["what"] == "margins":
        shares, groups = (load_table(artifact.path(f"{name}.parquet")) for name in ("explained", "groups"))
        return {
            **result, **artifact.metrics,
            "shares": [plain(row) for row in shares.to_dict("records")],
            "groups": [plain(row) for row in groups.head(NUM_ENDS).to_dict("records")],
        }  # fmt: skip
    features = load_table(artifact.path("features.parquet"))
    top = features.groupby("item", sort=False).head(NUM_FEATURES)
    result["strongest"] = [plain(row) for row in top.to_dict("records")]
    if info["what"] != "euphemism":
        verdicts = load_table(artifact.path("verdicts.parquet"))
        result["verdicts"] = [plain(row) for row in verdicts.to_dict("records")]
    return result


def lines(result: Mapping[str, Any]) -> list[str]:
    """The same for a person."""
    head = [f"{result['name']}  ({result['probe']}, {result['what']})"]
    match result["what"]:
        case "tokens":
            spread = f"mean {_number(result['reward_mean'])}, sd {_number(result['reward_std'])}"
            head.append(f"{result['num_tokens']:,} tokens, {result['num_prompts']} prompts, {spread}")
            return [*head, "highest", *map(_token, result["highest"]), "lowest", *map(_token, result["lowest"])]
        case "margins":
            head.append(
                f"{result['num_pairs']:,} pairs, {result['num_wrong']:,} wrong, {result['num_by_one_feature']:,} of them by one "
                "feature alone; share = what is gone of the margins with the k most decisive features off"
            )
            head += [
                f"  k = {row['k']:<6} share {_with_ends(row, 'share')}  n = {row['num_pairs']}"
                for row in result["shares"]
            ]
            return [*head, "wrong pairs by the feature whose removal rights them", *map(_group, result["groups"])]
        case "euphemism":
            counts = f"n = {result['num_texts']} texts of {result['num_units']} pairs"
            return [
                *head,
                f"gap {_with_ends(result, 'gap')} = {_number(result['gap_in_std'])} sd of the rewards, {counts}",
                f"without its features {_with_ends(result, 'remaining')}; they carry {_with_ends(result, 'share')} of it",
                f"features of a control ({result['control'] or 'none'}) carry {_number(result['control_share'])}",
                *_features(result, result["topic"]),
            ]
    for row in result["verdicts"]:
        share = f"  share {_with_ends(row, 'share')}" if row["share"] is not None else ""
        size = f"  d_z {_number(row['d_z'])}" if row.get("d_z") is not None else ""
        head.append(
            f"{row['rank']:>3} {row['item']:<16} {row['verdict']:<16} gap {_with_ends(row, 'gap')} "
            f"({_number(row['gap_in_std'])} sd)  q {_number(row['q'])}{size}{share}  n = {row['num_texts']}"
        )
    return head


def _features(result: Mapping[str, Any], item: str) -> list[str]:
    return [
        f"  feature {row['feature']:<6} {row['token']:<16} carries {_with_ends(row, 'carried')}"
        for row in result["strongest"]
        if row["item"] == item
    ]


def _token(row: Mapping[str, Any]) -> str:
    by = f"  feature {row['feature']} ({_number(row['effect'])})" if row["feature"] >= 0 else ""
    return f"  {row['rank']:>6} {row['token']!r:<18} {_number(row['reward'])}{by}"


def _group(row: Mapping[str, Any]) -> str:
    if row["feature"] < 0:
        return f"  {row['num_pairs']:>6} pairs  no single feature"
    moved = f"its removal rights {row['num_righted']} and breaks {row['num_broken']} in all"
    return f"  {row['num_pairs']:>6} pairs  feature {row['feature']:<6} {moved}"


def _with_ends(row: Mapping[str, Any], name: str) -> str:
    return f"{_number(row.get(name))} [{_number(row.get(f'{name}_low'))}, {_number(row.get(f'{name}_high'))}]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3g}"
