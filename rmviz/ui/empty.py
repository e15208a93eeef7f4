"""What to do where there is nothing yet: one sentence each, and the command to type."""

import shlex

import streamlit as st

from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.training.looks import is_watched

Step = tuple[str, tuple[str, ...]]


def next_steps(workspace: Workspace) -> list[tuple[str, str]]:
    """What this workspace still lacks on the way from data to features: a sentence and a command for each step."""
    newest: dict[str, Artifact] = {}
    for artifact in workspace.list():
        newest.setdefault(artifact.kind, artifact)
    name = {
        kind: newest[kind].id if kind in newest else kind.upper()
        for kind in ("dataset", "reward_model", "sae", "effects")
    }
    steps: list[Step] = []
    if not newest:
        steps.append(
            ("Look at a world whose truth is known: this builds its texts, models, features and effects.", ("demo",))
        )
    if "dataset" not in newest:
        steps.append(
            (
                "Bring in your preference pairs: a .jsonl, .csv or .parquet file, a folder, or a hub dataset.",
                ("data", "add", "PAIRS.jsonl"),
            )
        )
    if "reward_model" not in newest:
        steps.append(("Bring in your reward model, a folder or a hub id;", ("model", "add", "FOLDER")))
        if "dataset" in newest:
            steps.append(("or train one on the pairs.", ("train", "reward", name["dataset"], "BASE_MODEL")))
    elif "sae" not in newest:
        steps.append(
            (
                "Train a sparse autoencoder on one layer of the model.",
                ("sae", "train", name["reward_model"], name["dataset"]),
            )
        )
    if "sae" in newest and "effects" not in newest:
        steps.append(("Measure what each feature does to the reward.", ("effects", name["sae"], name["dataset"])))
    if "effects" in newest and "features" not in newest:
        steps.append(("Prepare each feature's page.", ("features", name["effects"])))
    return [(sentence, command(workspace, *words)) for sentence, words in steps]


def policy_steps(workspace: Workspace) -> list[tuple[str, str]]:
    """What leads to the first policy that is trained for a reward, where all that it takes is here."""
    newest = {kind: workspace.list(kind) for kind in ("policy", "dataset", "reward_model", "sae")}
    if not all(newest.values()) or any(is_watched(policy) for policy in newest["policy"]):
        return []
    sae = newest["sae"][0]
    model = next((parent for parent in sae.parents if parent.startswith("reward-model-")), newest["reward_model"][0].id)
    words = ("train", "rest", newest["policy"][0].id, newest["dataset"][0].id, model, "--sae", sae.id)
    return [
        ("Train a policy for the reward model, and see towards which features it drifts.", command(workspace, *words))
    ]


def map_steps(workspace: Workspace) -> list[tuple[str, str]]:
    """What leads to the first map: a reward model, something that writes, and a search."""
    newest = {kind: workspace.list(kind) for kind in ("reward_model", "policy")}
    steps = next_steps(workspace) if not newest["reward_model"] else []
    name = {kind: found[0].name if found else kind.upper() for kind, found in newest.items()}
    search = ("map", "run", name["reward_model"], name["policy"])
    steps.append(("Search for the best poem of every tone and genre.", command(workspace, *search)))
    if not newest["policy"]:
        words = (
            *search[:3],
            "MODEL",
            "--generator",
            "openai",
            "--server",
            "http://127.0.0.1:8000/v1",
            "--judge",
            "llm",
        )
        steps.append(
            ("No policy is here to write poems; a local model server can do it, too.", command(workspace, *words))
        )
    return steps


def command(workspace: Workspace, *words: str) -> str:
    """An rmviz command for this workspace, quoted for the shell."""
    return shlex.join(["rmviz", *words, "--workspace", str(workspace.root)])


def show_steps(steps: list[tuple[str, str]]) -> None:
    """Sentences with their commands, ready to copy."""
    for sentence, line in steps:
        st.write(sentence)
        st.code(line, language="bash", wrap_lines=True)


def nothing(workspace: Workspace, sentence: str) -> None:
    """Say that a page has nothing to show, and what leads to it."""
    st.info(sentence, icon=":material/lightbulb:")
    show_steps(next_steps(workspace))
