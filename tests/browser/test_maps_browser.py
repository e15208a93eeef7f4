"""The Maps page in a real browser: cells are clicked, links are opened cold, and no text of a poem runs."""

import re

import pytest
from browser.test_browser import FIND_INJECTED, url_parameter

from rmviz.store.workspace import Workspace


def cell(page, row, column, chart=0):
    """The cell of a heat map with these labels."""
    figure = page.locator('[data-testid="stVegaLiteChart"]').nth(chart)
    return figure.locator(f'path[aria-label^="{row}, {column}:"]').first


def opened(page, row, column):
    page.get_by_role("heading", name=f"{row} × {column}", exact=True).wait_for()


def test_a_click_on_a_cell_shows_its_poems(maps_app, tab):
    watched = tab(maps_app)
    page = watched.open("/maps?map=toy+map", "Maps")
    for row, column, number in (("ballad", "dark", 11), ("haiku", "happy", 0), ("hymn", "reflective", 24)):
        cell(page, row, column).click()
        opened(page, row, column)
        page.wait_for_function(f"new URLSearchParams(location.search).get('cell') === '{number}'")
        watched.settle()
        heads = page.locator(".rm-poem-head b").all_inner_texts()
        rewards = [float(re.sub(r"^\d+\. ", "", head).replace("−", "-")) for head in heads if head[0].isdigit()]
        assert rewards and rewards == sorted(rewards, reverse=True)
    page.reload()
    opened(page, "hymn", "reflective")


def test_the_same_cell_twice_and_a_click_near_an_edge(maps_app, tab):
    page = tab(maps_app).open("/maps?map=toy+map&cell=0", "Maps")
    opened(page, "haiku", "happy")
    for _ in range(2):
        cell(page, "sonnet", "dark").click()
        opened(page, "sonnet", "dark")
        page.wait_for_timeout(500)
    box = cell(page, "limerick", "romantic").bounding_box()
    page.mouse.click(box["x"] + 4, box["y"] + box["height"] - 4)
    opened(page, "limerick", "romantic")


def test_a_map_fits_a_narrow_window_and_its_cells_still_open(maps_app, tab):
    watched = tab(maps_app)
    watched.page.set_viewport_size({"width": 960, "height": 800})
    page = watched.open("/maps?map=toy+map&cell=0", "Maps")
    opened(page, "haiku", "happy")
    figure = page.locator('[data-testid="stVegaLiteChart"] svg.marks').first.bounding_box()
    column = page.locator('[data-testid="stColumn"]').filter(has=page.locator("svg.marks")).last.bounding_box()
    assert figure["x"] + figure["width"] <= column["x"] + column["width"] + 1
    cell(page, "hymn", "reflective").click()
    opened(page, "hymn", "reflective")


def test_a_cold_link_opens_map_value_filing_cell_and_poem(maps_app, tab):
    maps_app.restart()
    page = tab(maps_app).open("/maps?map=toy+map&value=draws&by=asked&cell=13&view=map", "Maps")
    opened(page, "ballad", "romantic")
    assert url_parameter(page, "value") == "draws" and url_parameter(page, "by") == "asked"
    page.get_by_role("button", name="Where it came from").first.click()
    page.locator(".rm-line").or_(page.get_by_text("no other poem went into it")).first.wait_for()
    page.wait_for_function("location.search.includes('poem=')")
    link = page.url
    again = tab(maps_app)
    page = again.open(link.removeprefix(maps_app.url), "Maps")
    page.locator(".rm-line").or_(page.get_by_text("no other poem went into it")).first.wait_for()
    opened(page, "ballad", "romantic")


def test_a_click_in_any_panel_of_a_comparison_shows_both_rewards(maps_app, tab):
    watched = tab(maps_app)
    page = watched.open("/maps?map=toy+map&comparison=difference", "Maps")
    for chart, (row, column) in enumerate([("haiku", "dark"), ("hymn", "happy"), ("sonnet", "romantic")]):
        cell(page, row, column, chart).click()
        opened(page, row, column)
        watched.settle()


def test_the_slider_moves_the_map(maps_app, tab):
    watched = tab(maps_app)
    page = watched.open("/maps?map=toy+map&view=history&after=50", "Maps")
    page.get_by_text("after 50 attempts of 400").wait_for()
    page.get_by_role("slider").first.press("End")
    page.get_by_text("after 400 attempts of 400").wait_for()
    assert page.locator('[data-testid="stVegaLiteChart"]').count() == 4


def test_features_of_a_poem_are_shown_on_its_tokens(maps_app, tab):
    page = tab(maps_app).open("/maps?map=toy+map", "Maps")
    page.get_by_role("button", name="Features that fire").first.click()
    page.locator(".rm-tokens").wait_for()
    assert page.get_by_text("activation of feature").count()


def test_a_poem_folds_and_opens(maps_app, tab):
    page = tab(maps_app).open("/maps?map=toy+map&poem=10", "Maps")  # the long one
    fold = page.locator("details.rm-fold").first
    fold.wait_for()
    assert not page.get_by_text("line 599 of a poem").first.is_visible()
    fold.locator("summary").click()
    assert page.get_by_text("line 599 of a poem").first.is_visible()


def test_the_figure_can_be_downloaded(maps_app, tab):
    watched = tab(maps_app)
    page = watched.open("/maps?map=toy+map", "Maps")
    page.get_by_role("button", name="Export").click()
    for name, start in (("SVG", b"<svg"), ("PNG", b"\x89PNG"), ("HTML page", b"<!doctype html>")):
        with page.expect_download() as waited:
            page.get_by_role("button", name=name, exact=True).click()
        with open(waited.value.path(), "rb") as file:
            assert file.read(20).startswith(start)


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_hostile_maps_stay_text(maps_app, tab, scheme):
    watched = tab(maps_app, color_scheme=scheme)
    binned = next(a for a in Workspace(maps_app.root).list("map") if a.name.startswith("binned"))
    places = [f"/maps?map=hostile+axes&cell={number}" for number in range(4)]
    places += [f"/maps?map=hostile+axes&view={view}" for view in ("history", "means", "labels", "several")]
    places += [f"/maps?map={binned.id}", *(f"/maps?map=toy+map&poem={poem}&show=family" for poem in range(8))]
    places += ["/maps?cell=%3Csvg%20onload=alert(1)%3E&map=![x](http://evil.test/p.png)&comparison=%3Cimg%20src=x%3E"]
    for path in places:
        page = watched.open(path, "Maps")
        page.wait_for_timeout(300)
        injected = page.evaluate(FIND_INJECTED)
        assert not injected, (path, injected)
        watched.check()
