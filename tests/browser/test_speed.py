"""How fast the pages are in a real browser: `pytest -m slow tests/browser/test_speed.py -s` prints the medians."""

import json
import os
import statistics
import time
from pathlib import Path

import pytest
from browser.conftest import App

from rmviz.store.workspace import Workspace

pytestmark = pytest.mark.slow

OPENS = {"/": "Overview", "/features": "Features", "/data": "Data"}
HEADER, ROW = 35, 30


@pytest.fixture(scope="module")
def large(make_app):
    return make_app(num_features=16_384, num_pairs=200)


def seconds_until(page, act, condition):
    """Seconds from an act to the first frame in which a condition holds."""
    start = time.perf_counter()
    act()
    page.wait_for_function(condition, polling="raf")
    return time.perf_counter() - start


def report(name, times, bound):
    median = statistics.median(times)
    print(f"\n{name}: median {median:.3f} s, worst {max(times):.3f} s, n = {len(times)}, wanted <= {bound} s")  # noqa: T201
    return median


def test_a_row_opens_within_half_a_second(large, tab):
    watched = tab(large)
    page = watched.open("/features", "Features")
    table = page.locator('[data-testid="stDataFrame"]').first
    page.locator('[data-testid="stDataFrame"] canvas').first.wait_for()
    page.wait_for_timeout(3000)
    box = table.bounding_box()
    times = []
    for row in range(1, 16):
        before = page.locator("h3", has_text="Feature ").first.inner_text()
        y = box["y"] + HEADER + ROW * row + ROW / 2
        times.append(
            seconds_until(
                page,
                lambda y=y: page.mouse.click(box["x"] + 90, y),
                f"[...document.querySelectorAll('h3')].some(n => /^Feature [0-9]+$/.test(n.innerText) && n.innerText !== '{before}')",
            )
        )
        watched.settle()
    assert report("row click to detail, 16,384 features", times, 0.5) <= 0.5


def test_a_toggle_shows_the_new_reward_within_half_a_second(large, tab):
    watched = tab(large)
    page = watched.open("/playground?prompt=Human:%20a&a=%20the%20old%20sailor%20spoke%20of%20rain", "Playground")
    page.locator('[data-testid="stDataFrame"] canvas').first.wait_for()
    page.wait_for_timeout(3000)
    box = page.locator('[data-testid="stDataFrame"]').first.bounding_box()
    times = []
    for number in range(20):
        arrow = "includes" if number % 2 == 0 else None
        condition = "document.querySelector('.rm-rewards')?.innerText.includes('→')"
        times.append(
            seconds_until(
                page,
                lambda: page.mouse.click(box["x"] + 16, box["y"] + HEADER + ROW / 2),
                condition if arrow else f"!{condition}",
            )
        )
        watched.settle()
    assert report("toggle to new reward (stand-in backend)", times, 0.5) <= 0.5


@pytest.fixture(scope="module")
def real(browser, tmp_path_factory):
    """The app with the backend itself, on the workspace RMVIZ_SPEED_WORKSPACE (the demo's) or on an organism built now."""
    from rmviz.configs.world import OrganismConfig
    from rmviz.worker import TASKS

    root = Path(os.environ.get("RMVIZ_SPEED_WORKSPACE") or tmp_path_factory.mktemp("real"))
    if not Workspace(root).list("sae"):
        TASKS["world.organism"](OrganismConfig(num_texts=20), Workspace(root), lambda step, total, metrics: None)
    served = App(root, real=True)
    yield served
    served.close()


POEM = "I%20found%20the%20bloody%20duel%20on%20the%20plain,%20the%20senator%20lost%20his%20rifle%20in%20the%20rain."


def opened_playground(real, tab):
    """A Playground with a text of its own, and the place of its table."""
    watched = tab(real)
    model = next(a for a in Workspace(real.root).list("sae") if a.name in ("world-sae", "organism-sae"))
    page = watched.open(f"/playground?model={model.parents[0]}&sae={model.id}&prompt=Write&a={POEM}", "Playground")
    page.locator('[data-testid="stDataFrame"] canvas').first.wait_for()
    page.wait_for_timeout(3000)
    return watched, page, page.locator('[data-testid="stDataFrame"]').first.bounding_box()


ARROW = "document.querySelector('.rm-rewards')?.innerText.includes('→')"


def test_a_toggle_by_the_model_itself_takes_half_a_second(real, tab):
    watched, page, box = opened_playground(real, tab)
    times = []
    for number in range(20):
        row = number // 2 % 10  # every second toggle is of a feature that was not asked about before
        times.append(
            seconds_until(
                page,
                lambda row=row: page.mouse.click(box["x"] + 16, box["y"] + HEADER + ROW * row + ROW / 2),
                ARROW if number % 2 == 0 else f"!{ARROW}",
            )
        )
        watched.settle()
    assert report("toggle to new reward (the model itself)", times, 0.5) <= 0.5


def test_five_sessions_toggle_at_once_within_one_and_a_half_seconds(real, tab):
    """Every round, all five click; each waits for its own reward, seen by the clock of its own page."""
    sessions = [opened_playground(real, tab) for _ in range(5)]
    clock = "window.seen = 0; window.since = performance.now(); const look = () => {{ if ({done}) window.seen = "
    clock += "performance.now() - window.since; else requestAnimationFrame(look) }}; requestAnimationFrame(look)"
    times = []
    for number in range(8):
        done = ARROW if number % 2 == 0 else f"!{ARROW}"
        for index, (_, page, box) in enumerate(sessions):
            page.evaluate(f"() => {{ {clock.format(done=done)} }}")
            row = (number // 2 + index) % 10
            page.mouse.click(box["x"] + 16, box["y"] + HEADER + ROW * row + ROW / 2)
        for watched, page, _ in sessions:
            page.wait_for_function("window.seen > 0")
            times.append(page.evaluate("window.seen") / 1000)
            watched.settle()
    assert report("toggle to new reward, 5 sessions at once", times, 1.5) <= 1.5


@pytest.mark.parametrize(("path", "title"), OPENS.items())
def test_a_warm_page_opens_within_one_and_a_half_seconds(large, tab, path, title):
    """Warm: the session runs, the server and the browser have seen the page; the link in the sidebar is clicked."""
    watched = tab(large)
    page = watched.open("/playground", "Playground")
    for name in (title, "Playground"):
        page.get_by_test_id("stSidebarNavLink").filter(has_text=name).click()
        page.wait_for_function(f"document.querySelector('h1')?.innerText === '{name}'")
        watched.settle()
    times = []
    for _ in range(5):
        link = page.get_by_test_id("stSidebarNavLink").filter(has_text=title)
        done = (
            f"document.querySelector('h1')?.innerText === '{title}' && "
            "document.querySelector('[data-test-script-state]')?.dataset.testScriptState === 'notRunning'"
        )
        times.append(seconds_until(page, link.click, done))
        page.get_by_test_id("stSidebarNavLink").filter(has_text="Playground").click()
        page.wait_for_function("document.querySelector('h1')?.innerText === 'Playground'")
        watched.settle()
    assert report(f"warm open of {title}, 16,384 features", times, 1.5) <= 1.5


def test_a_cell_opens_its_poems_within_four_tenths_of_a_second(make_app, tab):
    watched = tab(make_app("synthetic_maps", num_attempts=25_000, only="map"))
    page = watched.open("/maps?map=toy+map&cell=0", "Maps")
    page.locator('path[aria-label^="haiku, dark:"]').first.wait_for()
    page.wait_for_timeout(3000)
    times = []
    for number in range(20):
        row, column = (("sonnet", "hymn")[number % 2], ("happy", "dark", "mysterious", "romantic")[number % 4])
        box = page.locator(f'path[aria-label^="{row}, {column}:"]').first.bounding_box()
        shown = f"[...document.querySelectorAll('h3')].some(n => n.innerText === '{row} × {column}')"
        poem = "document.querySelector('.rm-poem')?.innerText"
        before = page.evaluate(poem)
        centre = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        changed = f"{shown} && {poem} !== {json.dumps(before)}"
        times.append(seconds_until(page, lambda centre=centre: page.mouse.click(*centre), changed))
        watched.settle()
    assert report("cell click to poem, 25,000 attempts", times, 0.4) <= 0.4
