"""`rmviz pair`, `rmviz margins` and `rmviz probe …`: a pair taken apart, all margins, and probes written out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rmviz.cli_flags import JsonOption, WorkspaceOption, job_command, opened, show
from rmviz.configs.kinds import KINDS

app = typer.Typer(
    help="Probes: edits that should not matter, what they cost, and through which features.", no_args_is_help=True
)
app.command("euphemism")(job_command("probe.euphemism", KINDS["probe.euphemism"]))
app.command("spec")(job_command("probe.spec", KINDS["probe.spec"]))
app.command("bias")(job_command("probe.bias", KINDS["probe.bias"]))
app.command("tokens")(job_command("probe.tokens", KINDS["probe.tokens"]))


def add_to(root: typer.Typer) -> None:
    """Put the group and the commands below the root of the command line."""
    root.add_typer(app, name="probe")
    root.command("pair")(pair_command)
    root.command("margins")(job_command("probe.margins", KINDS["probe.margins"]))


@app.command("export")
def export(
    probe: Annotated[str, typer.Argument(help="Id or name of the probe.")],
    to: Annotated[Path, typer.Argument(help="File to write, ending in .html.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a probe as a page that stands alone."""
    from rmviz.probes.export import export as export_probe

    export_probe(opened(workspace).resolve(probe, "probe"), to)
    show({"file": str(to)}, as_json, lambda: [f"{to}"])


@app.command("show")
def show_command(
    probe: Annotated[str, typer.Argument(help="Id or name of the probe.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """What a probe of any kind says: figures with their intervals, verdicts, the strongest features."""
    from rmviz.probes.told import lines, told

    result = told(opened(workspace).resolve(probe, "probe"))
    show(result, as_json, lambda: lines(result))


SAEArgument = Annotated[str, typer.Argument(help="Id or name of the SAE.")]
DatasetArgument = Annotated[str, typer.Argument(help="Id or name of the dataset.")]


def pair_command(
    sae: SAEArgument,
    dataset: DatasetArgument,
    pair: Annotated[str, typer.Argument(help="Id of the pair in the dataset.")],
    top: Annotated[int, typer.Option(help="Features shown, those with the largest effect on the margin.")] = 10,
    shapley: Annotated[int, typer.Option(help="Permutations behind Shapley values of these features (0: none).")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the permutations.")] = 0,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """A pair's margin taken apart: features, SAE error, base and the interaction rest, which sum to it."""
    from rmviz.probes.pairs import pair_parts

    result = pair_parts(opened(workspace), sae, dataset, pair, num_features=top, num_permutations=shapley, seed=seed)
    show(result, as_json, lambda: _pair_lines(result))


def _pair_lines(result: dict[str, Any]) -> list[str]:
    shares = {one["part"]: one for one in result.get("shapley", {}).get("parts", [])}
    lines = [f"pair {result['pair_id']}  margin {result['margin']:+.4f}  (positive parts speak for the chosen reply)"]
    for one in result["parts"]:
        share = shares.get(one["part"])
        told = f"   Shapley {share['value']:+.4f} ± {share['error']:.4f}" if share else ""
        lines.append(f"  {one['part']:<16} {one['value']:+.4f}{told}")
    return [
        *lines,
        f"  {'sum':<16} {result['total']:+.4f}   interaction is {result['interaction_share']:.0%} of all parts' size",
    ]
