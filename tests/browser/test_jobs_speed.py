"""How long a person waits for a job: `pytest -m slow tests/browser/test_jobs_speed.py -s` prints the figures."""

import re
import runpy
import sys
import time
from pathlib import Path
from statistics import median

import pytest

from rmviz.configs.world import WorldPolicyConfig
from rmviz.jobs.records import list_jobs
from rmviz.store.workspace import Workspace

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
APP = runpy.run_path(str(HERE / "conftest.py"))["App"]
make_job = runpy.run_path(str(HERE.parent / "pages" / "job_folders.py"))["make_job"]
PROGRESS = re.compile(r"[1-9][\d,]* of 400,000 · ")


def told(line: str) -> None:
    sys.stdout.write(f"{line}\n")


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    app = APP(tmp_path_factory.mktemp("jobs") / "workspace")
    app.root.mkdir()
    yield app
    for job in list_jobs(Workspace(app.root)):
        (job.folder / "cancel").touch()
    app.close()


def test_launch_to_first_progress_and_cancel(server, tab):
    watched = tab(server)
    launches, cancels = [], []
    for number in range(6):
        page = watched.open("/train?kind=world.data", "Train")
        for name, value in (("num_pairs", 400_000), ("seed", number)):
            field = page.get_by_label(re.compile(name))
            field.fill(str(value))
            field.press("Tab")
            watched.settle()
        start = time.monotonic()
        page.get_by_role("button", name="Launch", exact=True).click()
        page.get_by_text(PROGRESS).first.wait_for()
        launches.append(time.monotonic() - start)
        start = time.monotonic()
        page.get_by_role("button", name="Cancel", exact=True).click()
        page.locator(".rm-figures").get_by_text("cancelled").first.wait_for()
        cancels.append(time.monotonic() - start)
    told(f"launch to first progress, median of {len(launches)}: {median(launches):.2f} s (worst {max(launches):.2f} s)")
    told(f"cancel to shown as cancelled: {median(cancels):.2f} s (worst {max(cancels):.2f} s)")
    assert median(launches) < 3 and max(cancels) < 5


def test_a_thousand_jobs_open_warm(server, tab):
    for number in range(1000):
        make_job(server.root, "world.policy", WorldPolicyConfig(name=f"run {number}", seed=number), "succeeded")
    watched = tab(server)
    seconds = []
    for _ in range(9):
        watched.open("/", "Overview")
        start = time.monotonic()
        watched.page.get_by_role("link", name="Jobs", exact=True).first.click()
        watched.page.get_by_text(re.compile("1,0.. jobs")).first.wait_for()
        watched.settle()
        seconds.append(time.monotonic() - start)
    told(
        f"Jobs page with 1,000 jobs, warm, median of {len(seconds)}: {median(seconds):.2f} s (worst {max(seconds):.2f} s)"
    )
    assert median(seconds) < 1.5
