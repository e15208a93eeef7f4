"""Models, Policies, Experiments, Trees and Derivation in a real browser: what is picked is shown, and its link shows it again."""

import re
import runpy
import time
from pathlib import Path

import pytest
from browser.conftest import App
from browser.test_browser import FIND_INJECTED, url_parameter

from rmviz.elephants import graph, read
from rmviz.store.workspace import Workspace
from rmviz.worker import execute

PAGES = Path(__file__).parents[1] / "pages"
PLANTED, POLICIED, TREED, MODELLED = (
    runpy.run_path(str(PAGES / f"{name}.py")) for name in ("synthetic", "policied", "treed", "modelled")
)
HEADER, ROW = 35, 35


@pytest.fixture(scope="module")
def elephants(tmp_path_factory):
    """Pink-elephant data in a workspace of its own, made by its job."""
    settings = {"num_conversations": 12, "shard_size": 12, "topics": "wines", "pairs_per_topic": 2}
    return execute("data.pink_elephants", settings, Workspace(tmp_path_factory.mktemp("studies") / "workspace"))


@pytest.fixture(scope="module")
def studies(browser, elephants):
    """An app on a workspace with what these pages read."""
    root = elephants.folder.parents[1]
    POLICIED["build_policies"](root, PLANTED["build"](root))
    TREED["build_trees"](root)
    MODELLED["build_models"](root)
    app = App(root)
    yield app
    app.close()


def pick(watched, label, option):
    """Choose in a list."""
    watched.page.get_by_role("combobox", name=re.compile(label)).click()
    watched.page.get_by_role("option", name=option, exact=True).click()


def click_row(page, number, x=90):
    """Click a row of the page's first table, which is drawn on a canvas."""
    table = page.locator('[data-testid="stDataFrame"]').first
    table.locator("canvas").first.wait_for()
    table.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    box = table.bounding_box()
    page.mouse.click(box["x"] + x, box["y"] + HEADER + ROW * (number + 0.5))


def opened_again(watched, seen):
    """The page's own link, opened anew, shows the same."""
    before = at_rest(watched.page, seen)
    watched.page.reload()
    watched.page.wait_for_selector("h1")
    watched.settle()
    deadline = time.monotonic() + 30
    while seen() != before and time.monotonic() < deadline:  # plots are drawn after the script has ended
        watched.page.wait_for_timeout(100)
    assert seen() == before
    assert not watched.page.evaluate(FIND_INJECTED)


def at_rest(page, seen):
    """What is seen when it no longer changes: plots are drawn after the script has ended."""
    last = seen()
    for _ in range(20):
        page.wait_for_timeout(400)
        last, before = seen(), last
        if last == before:
            break
    return last


def curves(page):
    """Plots that are drawn with at least one line in them."""
    page.locator(".js-plotly-plot .scatterlayer path.js-line").first.wait_for(state="attached")
    return page.locator(".js-plotly-plot:has(.scatterlayer path.js-line)").count()


def test_a_policy_that_is_picked_shows_its_curves_and_its_replies(studies, tab):
    watched = tab(studies)
    page = watched.open("/policies?policy=lm", "Policies")
    assert page.get_by_text("no run of it was watched").count() == 1
    pick(watched, "Policy", "without KL")
    page.get_by_test_id("stAlert").filter(has_text="step 10").wait_for()
    watched.settle()
    assert (
        at_rest(page, lambda: curves(page)) >= 2
        and page.locator(".rm-table td", has_text="exact reward of world").count() == 1
    )
    opened_again(watched, lambda: (page.locator(".rm-table").first.inner_text(), curves(page)))
    page.get_by_role("button", name="Replies", exact=True).or_(page.get_by_text("Replies", exact=True)).first.click()
    page.wait_for_url("**view=samples**")
    page.locator(".rm-text").first.wait_for()
    first = url_parameter(page, "prompt")
    click_row(page, 2)
    page.wait_for_function(f"new URLSearchParams(location.search).get('prompt') !== '{first}'")
    watched.settle()
    opened_again(watched, lambda: (url_parameter(page, "prompt"), page.locator(".rm-text").all_inner_texts()))
    assert page.locator(".rm-text ins").count() and page.get_by_text("step 20").count()


def test_an_experiment_that_is_picked_shows_its_figures_and_tables(studies, tab):
    watched = tab(studies)
    page = watched.open("/experiments?experiment=broken", "Experiments")
    assert page.get_by_test_id("stAlert").filter(has_text="cannot be read").count() == 1
    pick(watched, "Experiment", "knapsack")
    page.get_by_text("Tree search trains the better packer.").wait_for()
    watched.settle()
    page.locator('[data-testid="stDataFrame"] canvas').first.wait_for()
    assert curves(page) >= 1
    cells = page.locator(".rm-table tr", has_text="fill_after").locator("td").all_inner_texts()
    assert cells[0] == "fill_after" and cells[1] == "60 %" and cells[4] == "at least +0.15"
    opened_again(watched, lambda: (page.locator(".rm-table").first.inner_text(), curves(page)))


def test_a_click_on_a_pair_draws_its_way_through_the_tree(studies, tab):
    watched = tab(studies)
    page = watched.open("/trees?dataset=searched&tree=0", "Trees")
    assert at_rest(page, lambda: curves(page)) == 1 and url_parameter(page, "pair") is None

    def widths():
        drawn = page.locator(".js-plotly-plot .scatterlayer path.js-line").all()
        return sorted(float(line.evaluate("one => parseFloat(one.style.strokeWidth)")) for line in drawn)

    assert max(widths()) == 2.5
    click_row(page, 0)
    page.wait_for_function("new URLSearchParams(location.search).get('pair') === 'T000000-0'")
    page.locator(".rm-text").nth(1).wait_for()
    watched.settle()
    assert at_rest(page, widths)[-2:] == [6.0, 6.0]
    opened_again(watched, lambda: (widths(), page.locator(".rm-text").all_inner_texts()))
    pick(watched, "Tree", "Tree 5")
    page.get_by_text("gave no pair", exact=False).wait_for()
    assert url_parameter(page, "tree") == "5" and url_parameter(page, "pair") is None


def test_the_derivation_of_a_pair_is_drawn_and_a_text_of_it_is_opened(studies, elephants, tab):
    first, second = read.conversation_numbers(elephants)[:2]
    watched = tab(studies)
    page = watched.open(f"/derivation?pair={read.pair_id(first)}", "Derivation")
    page.get_by_role("button", name="Next").click()
    page.wait_for_function(f"new URLSearchParams(location.search).get('pair') === '{read.pair_id(second)}'")
    watched.settle()
    nodes = graph.lineage(read.text_graph(elephants, second))
    page.locator("svg g.node").nth(len(nodes) - 1).wait_for()
    assert page.locator("svg g.node").count() == len(nodes)
    place, critique = next((place, node) for place, node in enumerate(nodes, 1) if node.name == "critique")
    pick(watched, "Text", f"{place}. critique")
    page.wait_for_function(f"new URLSearchParams(location.search).get('text') === '{critique.id}'")

    def seen():
        page.locator('svg g.node path[stroke-width="2.5"]').wait_for()
        thick = page.locator('svg g.node:has(path[stroke-width="2.5"]) text').first.text_content()
        return thick, page.locator("textarea").input_value()

    watched.settle()
    assert seen() == ("critique", str(critique))
    opened_again(watched, seen)


def test_a_model_that_is_picked_shows_its_slices_and_leads_to_its_ensemble(studies, tab):
    watched = tab(studies)
    page = watched.open("/models?model=both", "Models")
    page.get_by_text("disagreement: held out").wait_for()
    page.locator(".js-plotly-plot").nth(1).wait_for()
    assert page.locator(".js-plotly-plot").count() == 2
    pick(watched, "Reward model or ensemble", "rm-1")
    page.get_by_role("link", name="Part of: both").wait_for()
    pick(watched, "Cut the held-out pairs by", "longer reply")
    page.wait_for_url("**by=longer**")
    page.locator(".js-plotly-plot text", has_text="rejected").first.wait_for()
    watched.settle()
    opened_again(
        watched,
        lambda: (
            page.locator(".rm-figures").first.inner_text(),
            page.locator(".js-plotly-plot .ytick").all_text_contents(),
        ),
    )
    page.get_by_role("link", name="Part of: both").click()
    page.get_by_text("disagreement: held out").wait_for()
    page.get_by_role("link", name="rm-0").wait_for()
