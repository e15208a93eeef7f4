"""`rmviz label …`: what features are called, by hand and by jobs."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from rmviz.cli_flags import JsonOption, WorkspaceOption, job_command, opened, show
from rmviz.configs.kinds import KINDS
from rmviz.errors import ConfigError

app = typer.Typer(help="What features are called: by hand, or proposed and scored by a job.", no_args_is_help=True)
app.command("features")(job_command("label.features", KINDS["label.features"]))

SAEArgument = Annotated[str, typer.Argument(help="Id or name of the SAE.")]


@app.command("show")
def show_command(sae: SAEArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """What the features of an SAE are called, and who says so; labels given by hand go before all others."""
    from rmviz.labels.read import labels_of

    space = opened(workspace)
    known = sorted(labels_of(space, space.resolve(sae, "sae").id, space.list()).items())
    rows = [
        {"feature": feature, "label": one.label, "direction": one.direction, "source": one.source, **_scores(one.score)}
        for feature, one in known
    ]
    empty = ["No labels yet. `rmviz label features EFFECTS` proposes some, `rmviz label set` gives one by hand."]
    show(rows, as_json, lambda: [_line(row) for row in rows] or empty)


@app.command("set")
def set_command(
    sae: SAEArgument,
    feature: Annotated[int, typer.Argument(help="Number of the feature.")],
    label: Annotated[str, typer.Argument(help="What to call it; '' takes its label away.")],
    direction: Annotated[str, typer.Option(help="What it does to the reward where it fires: raises or lowers.")] = "",
    note: Annotated[str, typer.Option(help="Anything else.")] = "",
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Call a feature something."""
    from rmviz.labels.read import checked_feature
    from rmviz.store.hand_labels import new_label, set_labels

    space = opened(workspace)
    artifact = space.resolve(sae, "sae")
    given = new_label(label, direction, note) if label.strip() else None
    kept = set_labels(space.root, artifact.id, {checked_feature(artifact, feature): given})
    told = asdict(given) if given else None
    line = f"feature {feature}: {given.label}" if given else f"feature {feature} has no label by hand now"
    show({"feature": feature, "label": told, "num_labels": len(kept)}, as_json, lambda: [line])


@app.command("export")
def export_command(
    sae: SAEArgument,
    to: Annotated[Path, typer.Argument(help="CSV file to write.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the labels given by hand as CSV: feature, label, direction, note."""
    from rmviz.labels.read import labels_csv
    from rmviz.store.hand_labels import hand_labels

    space = opened(workspace)
    labels = hand_labels(space.root, space.resolve(sae, "sae").id)
    try:
        to.write_text(labels_csv(labels), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{to} cannot be written: {error.strerror or error}") from error
    show({"file": str(to), "num_labels": len(labels)}, as_json, lambda: [f"{len(labels)} labels in {to}"])


@app.command("import")
def import_command(
    sae: SAEArgument,
    source: Annotated[Path, typer.Argument(help="CSV file with the columns feature and label, direction and note.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take labels from a CSV file; they replace those of the same features."""
    from rmviz.labels.read import labels_from_csv
    from rmviz.store.hand_labels import set_labels

    space = opened(workspace)
    artifact = space.resolve(sae, "sae")
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source} cannot be read as a CSV file in UTF-8: {error}") from error
    found = labels_from_csv(text, artifact)
    kept = set_labels(space.root, artifact.id, found)
    lines = [f"{len(found)} labels taken over, {len(kept)} in all"]
    show({"num_imported": len(found), "num_labels": len(kept)}, as_json, lambda: lines)


def _scores(score: dict[str, Any]) -> dict[str, float | None]:
    names = ("balanced_accuracy", "sign_agreement")
    values = {name: score.get(name) for name in names}
    return {name: float(value) if value is not None and value == value else None for name, value in values.items()}


def _line(row: dict[str, Any]) -> str:
    told = [
        f"{what} {row[name]:.2f}"
        for name, what in (("balanced_accuracy", "balanced accuracy"), ("sign_agreement", "sign"))
        if row[name] is not None
    ]
    claim = f" ({row['direction']} the reward)" if row["direction"] else ""
    return f"{row['feature']:>6}  {row['label']}{claim}  [{', '.join([row['source'], *told])}]"
