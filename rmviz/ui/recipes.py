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
    with st.expander("Recipes: whole experiments, one click each", icon=":material/menu_book:"):
        columns = st.columns(len(RECIPES), gap="medium")
        wanted = ""
        for column, (name, recipe) in zip(columns, RECIPES.items(), strict=True):
            with column:
                st.markdown(f"**{plain(recipe.title)}**")
                st.caption(plain(recipe.sentence))
                if st.button("Run", key=f"recipe-{name}", icon=":material/play_arrow:", disabled=bool(reason)):
                    wanted = name
                if made[name]:
                    router.page_link(
                        "experiments", "Results", {"experiment": made[name][0].id}, ":material/lab_profile:"
                    )
        st.caption(
            f"Each runs with {RecipeConfig().num_seeds} seeds as one job; what was done before is found, not done again. "
            "Other numbers of seeds: the form of the kind “recipe” below."
        )
    if wanted:
        job_launch.launch(workspace, "recipe", RecipeConfig(name=wanted))  # type: ignore[arg-type]


def of_recipe(artifact: Artifact, name: str) -> bool:
    """Whether an experiment is the result of a recipe: it is called so, or its settings are."""
    return name in (artifact.name, artifact.config.get("name"))
