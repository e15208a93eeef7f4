"""`rmviz bench …`: the figures that the README states, measured."""

from typing import Annotated, Any

import typer

from rmviz.cli_flags import JsonOption, WorkspaceOption, opened, show

app = typer.Typer(help="Benchmarks: ratios measured side by side in one run.", no_args_is_help=True)


@app.command("effects")
def bench_effects(
    model: Annotated[str, typer.Option(help="Reward model of your own (with --sae and --texts).")] = "",
    sae: Annotated[str, typer.Option(help="SAE of your own.")] = "",
    texts: Annotated[str, typer.Option(help="Dataset of your own.")] = "",
    features: Annotated[int, typer.Option(help="Features to ablate.")] = 64,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds; medians are reported.")] = 3,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """The naive hook and the engine side by side on the same model, SAE and texts."""
    from rmviz.bench.effects import run_bench

    space = opened(workspace)
    result = run_bench(space, model=model, sae=sae, texts=texts, num_features=features, num_rounds=rounds)
    show(result, as_json, lambda: [_case_line(case) for case in result["cases"]])


@app.command("sae")
def bench_sae(
    rounds: Annotated[int, typer.Option(help="Interleaved rounds; medians are reported.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """SAE training: ours, SAELens, and what else is installed, on the same activations."""
    from rmviz.bench.sae import run_bench

    result = run_bench(num_rounds=rounds)
    show(result, as_json, lambda: [_case_line(case) for case in result["cases"]])


@app.command("memory")
def bench_memory(
    texts: Annotated[int, typer.Option(help="Texts of the smaller scan; the larger has ten times as many.")] = 2000,
    as_json: JsonOption = False,
) -> None:
    """Peak memory of an effects scan, and of one over ten times as many texts."""
    from rmviz.bench.memory import run_bench

    result = run_bench(num_texts=texts)
    show(result, as_json, lambda: [*map(_case_line, result["cases"]), f"ratio {result['ratio']:.2f}"])


@app.command("pages")
def bench_pages(
    reads: Annotated[int, typer.Option(help="Pages to read.")] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Reading one feature's page out of 16,384: seconds and bytes."""
    from rmviz.bench.pages import run_bench

    result = run_bench(num_reads=reads)
    show(result, as_json, lambda: [_case_line(result)])


def _case_line(case: dict[str, Any]) -> str:
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in case.items()
    )
