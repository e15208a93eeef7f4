import runpy
from pathlib import Path

import pytest

build_comparison = runpy.run_path(str(Path(__file__).parents[1] / "pages" / "compared.py"))["build_comparison"]
HEADER, ROW = 35, 34


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_flip_is_one_click_from_both_texts_and_hostile_text_stays_text(app, tab, scheme):
    if not list((app.root / "comparison").glob("*")):
        build_comparison(app.root)
    watched = tab(app, color_scheme=scheme)
    page = watched.open("/compare?view=flips", "Compare")
    table = page.locator('[data-testid="stDataFrame"]').first
    page.locator('[data-testid="stDataFrame"] canvas').first.wait_for()
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    page.mouse.click(box["x"] + 90, box["y"] + HEADER + ROW * 1.5)
    page.locator(".rm-text").nth(1).wait_for()
    assert page.locator(".rm-text").count() == 2
    page.wait_for_function("location.search.includes('pair=')")
    opened = page.locator("h4").first.inner_text()
    page.reload()
    page.locator("h4", has_text=opened).wait_for()
    for view in ("accuracy", "rewards", "calibration", "length", "features", "steps"):
        watched.open(f"/compare?view={view}&pair=pair-0005", "Compare")
        page.wait_for_timeout(300)
        assert page.locator('[onerror], .stHtml script, iframe, img[src="x"]').count() == 0
        watched.check()
