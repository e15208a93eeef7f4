import re

import pytest
from browser.conftest import NUM_PAGES

PAGES = {"/": "Overview", "/features": "Features", "/playground": "Playground", "/data": "Data", "/maps": "Maps"}
HEADER, ROW = 35, 30
"""Pixels of a table's header and of a row of the feature tables."""


def click_row(page, table, row, *, row_height=ROW, x=90):
    """Click a row of a table drawn on a canvas; `x` lies inside a column, or on the tick box at 16."""
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    page.mouse.click(box["x"] + x, box["y"] + HEADER + row_height * row + row_height / 2)


def url_parameter(page, name):
    found = re.search(rf"[?&]{name}=([^&]+)", page.url)
    return found.group(1) if found else None


@pytest.mark.parametrize(("path", "title"), PAGES.items())
def test_a_cold_deep_link_runs_the_whole_app(app, tab, path, title):
    app.restart()
    watched = tab(app)
    page = watched.open(path, title)
    page.wait_for_selector('[data-testid="stSidebarNavLink"]')
    assert page.locator('[data-testid="stSidebarNavLink"]').count() == NUM_PAGES
    assert page.get_by_text("Workspace", exact=False).count(), "the frame of app.py is there"
    assert page.locator('[data-testid="stLogo"], [data-testid="stSidebarLogo"]').count()
    page.wait_for_function("document.title.endsWith('rmviz')")


def test_a_cold_link_to_one_feature_opens_it(app, tab):
    app.restart()
    page = tab(app).open("/features?feature=42", "Features")
    page.get_by_role("heading", name="Feature 42", exact=True).wait_for()


def test_a_click_on_a_row_opens_its_feature(app, tab):
    watched = tab(app)
    page = watched.open("/features", "Features")
    table = page.locator('[data-testid="stDataFrame"]').first
    page.locator('[data-testid="stDataFrame"] canvas').first.wait_for()
    first = url_parameter(page, "feature")
    click_row(page, table, 3)
    page.wait_for_function(f"!location.search.includes('feature={first}')")
    opened = url_parameter(page, "feature")
    page.get_by_role("heading", name=f"Feature {opened}", exact=True).wait_for()
    page.reload()
    page.get_by_role("heading", name=f"Feature {opened}", exact=True).wait_for()


def test_a_filter_does_not_move_the_open_feature(app, tab):
    watched = tab(app)
    page = watched.open("/features?feature=42", "Features")
    page.get_by_role("heading", name="Feature 42", exact=True).wait_for()
    page.get_by_text("Hide template", exact=True).click()
    page.wait_for_url("**hide_template=true**")
    page.get_by_role("button", name="most negative").or_(page.get_by_text("most negative", exact=True)).first.click()
    page.wait_for_url("**order=negative**")
    watched.settle()
    assert page.get_by_role("heading", name="Feature 42", exact=True).is_visible()


def test_a_click_on_a_dot_of_the_map_opens_its_feature(app, tab):
    watched = tab(app)
    page = watched.open("/features?view=map", "Features")
    dots = page.locator(".js-plotly-plot .scatterlayer .point")
    dots.first.wait_for(state="attached")
    before = url_parameter(page, "feature")
    for index in range(dots.count()):
        box = dots.nth(index).bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_timeout(700)
        if url_parameter(page, "feature") != before:
            break
    opened = url_parameter(page, "feature")
    assert opened != before
    page.get_by_role("heading", name=f"Feature {opened}", exact=True).wait_for()


def test_a_tick_in_the_playground_moves_the_reward_and_undo_brings_it_back(app, tab):
    watched = tab(app)
    page = watched.open("/playground?prompt=Human:%20a&a=%20the%20old%20sailor%20spoke", "Playground")
    table = page.locator('[data-testid="stDataFrame"]').first
    page.locator('[data-testid="stDataFrame"] canvas').first.wait_for()
    rewards = page.locator(".rm-rewards")
    clean = rewards.inner_text()
    assert "→" not in clean
    click_row(page, table, 0, x=16)
    page.wait_for_function("document.querySelector('.rm-rewards')?.innerText.includes('→')")
    page.wait_for_function("location.search.includes('scales=')")
    page.get_by_role("button", name="Undo").click()
    page.wait_for_function("!document.querySelector('.rm-rewards')?.innerText.includes('→')")
    assert rewards.inner_text() == clean


def test_typing_a_text_reads_it(app, tab):
    watched = tab(app)
    page = watched.open("/playground", "Playground")
    page.get_by_label("Prompt").fill("Human: what is this?")
    page.get_by_label("Reply", exact=True).fill(" <img src=x onerror=alert(9)> a quiet garden")
    page.get_by_role("button", name="Read", exact=True).click()
    page.locator(".rm-rewards").wait_for()
    assert "<img src=x onerror=alert(9)>" in page.locator(".rm-tokens").inner_text().replace("\n", "")


def test_an_error_of_the_backend_is_told_without_markup(app, tab):
    page = tab(app).open("/playground?prompt=Human:&a=backend,%20please%20fail", "Playground")
    alert = page.get_by_test_id("stAlert").filter(has_text="NaN")
    alert.wait_for()
    assert "<b>NaN</b>" in alert.inner_text()
    assert alert.locator("b, img, a").count() == 0


def test_a_click_on_a_pair_shows_both_texts(app, tab):
    watched = tab(app)
    page = watched.open("/data", "Data")
    table = page.locator('[data-testid="stDataFrame"]').first
    page.locator('[data-testid="stDataFrame"] canvas').first.wait_for()
    click_row(page, table, 1, row_height=34)
    page.locator(".rm-text").nth(1).wait_for()
    assert page.locator(".rm-text").count() == 2 and page.locator(".rm-text ins").count() > 0
    assert url_parameter(page, "pair")


HOSTILE_PLACES = [
    "/",
    *[f"/features?feature={feature}" for feature in range(8)],
    "/features?feature=1&view=volcano",
    *[f"/data?pair=pair-{pair:04d}" for pair in range(8)],
    "/data?view=bad",
    "/data?pair=%3Cimg%20src=x%20onerror=alert(1)%3E",
    "/features?features=%3Csvg%20onload=alert(1)%3E&feature=%3Cimg%20src=x%20onerror=alert(1)%3E",
    "/playground?prompt=%3C/script%3E%3Cscript%3Ealert(1)%3C/script%3E&a=%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E",
    "/playground?model=%3Cimg%20src=x%3E&sae=![x](http://evil.test/p.png)&scales=%3Cb%3E",
]


FIND_INJECTED = """() => {
  const nodes = [...document.querySelectorAll('[onerror], [onload], .stHtml script, .stMarkdown script, iframe')];
  const links = [...document.querySelectorAll('a[href], img[src], image[href]')].filter(node => {
    const address = new URL(node.getAttribute('href') ?? node.getAttribute('src'), location.href);
    return node.getAttribute('src') === 'x' || !(address.host === location.host || /^(data|blob):/.test(address.href));
  });
  return [...nodes, ...links].map(node => node.outerHTML);
}"""


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_hostile_text_stays_text_everywhere(app, tab, scheme):
    watched = tab(app, color_scheme=scheme)
    for path in HOSTILE_PLACES:
        page = watched.open(path)
        page.wait_for_timeout(300)
        injected = page.evaluate(FIND_INJECTED)
        assert not injected, (path, injected)
        watched.check()
