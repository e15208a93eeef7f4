"""Recipes on the Train page: whole experiments, one click each."""

from collections.abc import Sequence

import streamlit as st

from rmviz.configs.recipes import RECIPES, RecipeConfig
from rmviz.store.artifact import Artifact
from rmviz.store.workspace import Workspace
from rmviz.ui import frame, job_launch, router
from rmviz.ui import jobs as listing
from rmviz.ui.words import plain


@frame.fragment
def shelf(workspace: Workspace, artifacts: Sequence[Artifact]) -> None:
    """Every recipe with what it asks, its button, and its newest result."""
    made = {name: [one for one in artifacts if one.kind == "experiment" and of_recipe(one, name)] for name in RECIPES}
    reason = listing.why_no_changes()
    wanted = ""
    with st.container(horizontal=True, vertical_alignment="center", border=True, key="train-recipes"):
        st.caption("Recipes", width="content")
        for name, recipe in RECIPES.items():
            if st.button(
                recipe.title,
                key=f"recipe-{name}",
                icon=":material/play_arrow:",
                disabled=bool(reason),
                help=recipe.sentence,
            ):
                wanted = name
        with st.popover("What they do", icon=":material/menu_book:"):
            st.caption(
                "Whole experiments, one click each: data, models and figures in one job, with a page of results. What was done "
                f"before is found, not done again. Each runs with {RecipeConfig().num_seeds} seeds; the form of the kind recipe "
                "takes other numbers."
            )
            for name, recipe in RECIPES.items():
                st.markdown(f"**{plain(recipe.title)}** {plain(recipe.sentence)}")
                if made[name]:
                    link = {"experiment": made[name][0].id}
                    router.page_link("experiments", "Its newest result", link, ":material/lab_profile:")
    if wanted:
        job_launch.launch(workspace, "recipe", RecipeConfig(name=wanted))  # type: ignore[arg-type]


def of_recipe(artifact: Artifact, name: str) -> bool:
    """Whether an experiment is the result of a recipe, done whole: it is called so, or its settings are."""
    return name in (artifact.name, artifact.config.get("name")) and artifact.config.get("effort", 1) >= 1
