"""Data: the pairs of a dataset with the rewards that a model gives them, wrong ones first."""

import streamlit as st

from rmviz.ui import cached, empty, pairs, pickers, router, scored

router.guard()
workspace = router.workspace()
artifacts = workspace.list()
datasets = [artifact for artifact in artifacts if artifact.kind == "dataset"]

st.title("Data")
if not datasets:
    empty.nothing(workspace, "There is no dataset yet.")
    st.stop()

left, right = st.columns(2)
with left:
    dataset = pickers.artifact_picker("Dataset", datasets, "dataset", help="Preference pairs, or texts alone.")
assert dataset is not None, "there is at least one"
rows = cached.dataset(dataset)
if dataset.metrics.get("num_trees"):
    router.page_link("trees", "See the trees that it came from", {"dataset": dataset.id}, ":material/account_tree:")
scans = pickers.descendants(artifacts, dataset.id, "effects")
with right:
    scan = pickers.artifact_picker("Rewards from", scans, "scan", help="A scan of effects that has scored this data.")

models = [artifact for artifact in artifacts if artifact.kind == "reward_model"]
if scan is not None:
    rewards = cached.rewards(scan)
    model_id = next((artifact.id for artifact in models if artifact.id in scan.parents), "")
else:
    rewards, model_id = scored.scored_now(dataset, rows, models)
model = next((artifact for artifact in models if artifact.id == model_id), None)
pairs.browse(dataset, scored.with_rewards(rows, rewards), model)
