"""Derivation: which prompts, models and texts a preference pair came from, and what an edit would make again."""

import streamlit as st

from rmviz.elephants.read import has_graphs
from rmviz.ui import derivation, empty, pickers, router

router.guard()
workspace = router.workspace()
datasets = [artifact for artifact in workspace.list("dataset") if has_graphs(artifact)]

st.title("Derivation")
if not datasets:
    st.info("There is no dataset yet whose texts know what made them.", icon=":material/lightbulb:")
    sentence = (
        "Write pink-elephant data: conversations that drift to a term that must not be mentioned, and their revisions."
    )
    empty.show_steps([(sentence, empty.command(workspace, "data", "pink-elephants"))])
    st.stop()

left, right = st.columns(2)
with left:
    dataset = pickers.artifact_picker("Dataset", datasets, "dataset", help="Data whose texts know what made them.")
assert dataset is not None, "there is at least one"
with right:
    number = derivation.conversation_picker(dataset)
if number is not None:
    derivation.show(dataset, number)
