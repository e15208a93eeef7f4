"""Jobs in a real browser, with a real queue: launch, watch, cancel, resume; what others wrote stays text."""

import re
import runpy
import time
from pathlib import Path

import pytest
from browser.conftest import NUM_PAGES

from rmviz.configs.world import WorldDataConfig, WorldPolicyConfig
from rmviz.jobs.records import list_jobs
from rmviz.store.workspace import Workspace

HERE = Path(__file__).parent
APP = runpy.run_path(str(HERE / "conftest.py"))["App"]
make_job = runpy.run_path(str(HERE.parent / "pages" / "job_folders.py"))["make_job"]
FIND_INJECTED = runpy.run_path(str(HERE / "test_browser.py"))["FIND_INJECTED"]
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script> [x](http://evil.test) $x$ :red[y]"
HEADER, ROW = 35, 32


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    """An app on an empty workspace, and no job left running at its end."""
    app = APP(tmp_path_factory.mktemp("jobs") / "workspace")
    app.root.mkdir()
    yield app
    for job in list_jobs(Workspace(app.root)):
        if job.active:
            (job.folder / "cancel").touch()
    deadline = time.monotonic() + 20
    while any(job.active for job in list_jobs(Workspace(app.root))) and time.monotonic() < deadline:
        time.sleep(0.2)
    app.close()


def chosen(page):
    found = re.search(r"[?&]job=([^&]+)", page.url)
    return found.group(1) if found else None


def test_launch_watch_cancel_and_resume(server, tab):
    watched = tab(server)
    page = watched.open("/train?kind=world.data", "Train")
    pairs = page.get_by_label(re.compile("num_pairs"))
    pairs.fill("400000")
    pairs.press("Tab")
    watched.settle()
    page.get_by_role("button", name="Launch", exact=True).dblclick()
    page.get_by_role("heading", name="Jobs", exact=True).wait_for()
    (job,) = list_jobs(Workspace(server.root))
    page.wait_for_function(f"location.search.includes('job={job.key}')")
    progress = page.get_by_text(re.compile(r"[\d,]+ of 400,000 · .* steps/s"))
    progress.wait_for()
    before = progress.inner_text()
    start = time.monotonic()
    page.wait_for_function(
        "before => [...document.querySelectorAll('p')].some(p => / of 400,000 · /.test(p.innerText) && p.innerText !== before)",
        arg=before,
    )
    assert time.monotonic() - start < 10, "it moves by itself"
    start = time.monotonic()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Resume", exact=True).wait_for()
    assert time.monotonic() - start < 15, "much less on a machine that does nothing else"
    assert page.locator(".rm-figures").get_by_text("cancelled").count()
    assert list_jobs(Workspace(server.root))[0].state == "cancelled"
    page.reload()
    page.get_by_role("button", name="Resume", exact=True).click()
    page.get_by_role("button", name="Cancel", exact=True).wait_for()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Resume", exact=True).wait_for()


def test_a_cold_link_to_a_job_opens_it(server, tab):
    key = make_job(
        server.root, "world.policy", WorldPolicyConfig(name="linked"), "failed", error="it broke", log="last line"
    )
    server.restart()
    page = tab(server).open(f"/jobs?job={key}", "Jobs")
    page.get_by_role("heading", name="linked", exact=True).wait_for()
    assert page.get_by_test_id("stAlert").filter(has_text="it broke").count()
    assert (
        page.get_by_text("last line").count() and page.locator('[data-testid="stSidebarNavLink"]').count() == NUM_PAGES
    )


def test_a_copy_of_a_job_opens_the_train_page_with_its_settings(server, tab):
    key = make_job(server.root, "world.policy", WorldPolicyConfig(name="original", num_steps=123), "cancelled")
    watched = tab(server)
    page = watched.open(f"/jobs?job={key}", "Jobs")
    page.get_by_role("link", name="Launch a copy").click()
    page.get_by_role("heading", name="Train", exact=True).wait_for()
    watched.settle()
    assert page.get_by_label(re.compile("num_steps")).input_value() == "123"


def test_a_click_opens_a_job_that_stays_open_when_the_list_changes(server, tab):
    for number in range(5):
        make_job(server.root, "world.policy", WorldPolicyConfig(name=f"run {number}", seed=number), "cancelled")
    watched = tab(server)
    page = watched.open("/jobs", "Jobs")
    table = page.locator('[data-testid="stDataFrame"]').first
    table.locator("canvas").first.wait_for()
    page.wait_for_timeout(500)
    box = table.bounding_box()
    page.mouse.click(box["x"] + 330, box["y"] + HEADER + ROW * 2.5)
    page.wait_for_function("location.search.includes('job=')")
    key = chosen(page)
    name = next(job.name for job in list_jobs(Workspace(server.root)) if job.key == key)
    page.get_by_role("heading", name=name, exact=True).wait_for()
    make_job(server.root, "world.policy", WorldPolicyConfig(name="newcomer", seed=99), "cancelled")
    count = len(list_jobs(Workspace(server.root)))
    page.get_by_text(f"{count} jobs:").wait_for()
    page.wait_for_timeout(2000)
    assert chosen(page) == key and page.get_by_role("heading", name=name, exact=True).is_visible()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_hostile_text_of_jobs_stays_text(server, tab, scheme):
    config = WorldDataConfig(name=HOSTILE)
    key = make_job(server.root, "world.data", config, "failed", error=f"Error: {HOSTILE}", log=f"{HOSTILE}\n\x1b[31m{HOSTILE}\n",
                   reports=[{"step": 1.0, "loss": 2.0, HOSTILE: 1.0}, {"step": 2.0, "loss": 1.0, HOSTILE: 2.0}])  # fmt: skip
    watched = tab(server, color_scheme=scheme)
    for path in (f"/jobs?job={key}", f"/train?copy={key}", "/", "/jobs?job=%3Cimg%20src=x%20onerror=alert(1)%3E",
                 "/train?kind=%3Cimg%20src=x%20onerror=alert(1)%3E"):  # fmt: skip
        page = watched.open(path)
        page.wait_for_timeout(700)
        injected = page.evaluate(FIND_INJECTED)
        assert not injected, (path, injected)
        watched.check()
