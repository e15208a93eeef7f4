import json
import os
import runpy
import time
from pathlib import Path

import numpy as np
import pytest

from rmviz.configs.effects import EffectsConfig
from rmviz.configs.files import config_file
from rmviz.configs.world import WorldDataConfig, WorldPolicyConfig
from rmviz.jobs.locks import locked
from rmviz.jobs.records import list_jobs
from rmviz.jobs.settings import QueueSettings, read_settings
from rmviz.store.workspace import Workspace
from rmviz.ui import job_metrics
from rmviz.ui.job_curves import run_names
from rmviz.ui.job_detail import clean_log, progress_words
from rmviz.ui.job_metrics import curve, metric_names, parsed, read_metrics
from rmviz.ui.jobs import is_loopback, size, waiting_words

make_job = runpy.run_path(str(Path(__file__).with_name("job_folders.py")))["make_job"]
HOSTILE = "<img src=x onerror=alert(1)> [x](http://evil.test) **bold** $x$"


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No supervisor is started; what would wake one is counted."""
    woken = []
    monkeypatch.setattr("rmviz.jobs.queue.kick", lambda root: None)
    monkeypatch.setattr("rmviz.ui.jobs.wake", woken.append)
    return woken


def policy(steps, name="lm"):
    return WorldPolicyConfig(num_steps=steps, name=name)


def reports(count, **metrics):
    return [{"step": float(step), **{name: value(step) for name, value in metrics.items()}} for step in range(count)]


@pytest.fixture
def root(tmp_path):
    """A workspace with a job of every state."""
    make_job(tmp_path, "world.policy", policy(1, "first"), "succeeded", reports=reports(50, loss=lambda s: 1 / (s + 1)))
    make_job(
        tmp_path,
        "world.policy",
        policy(2, "broke"),
        "failed",
        error=f"ModelError: {HOSTILE}",
        log=f"one\n{HOSTILE}\nlast",
    )
    make_job(tmp_path, "world.policy", policy(3, "stopped"), "cancelled")
    make_job(tmp_path, "world.data", WorldDataConfig(name="b"), "queued", order=2)
    make_job(tmp_path, "world.data", WorldDataConfig(name="a", seed=1), "queued", order=1)
    key = make_job(tmp_path, "world.policy", policy(4, HOSTILE), "running", reports=reports(30, loss=lambda s: 2.0))
    with locked(tmp_path / "jobs" / key):
        yield tmp_path


def table(test):
    return test.dataframe[0].value


def key_of(root, state, number=0):
    return [job.key for job in list_jobs(Workspace(root)) if job.state == state][number]


def button(test, label):
    return next(button for button in test.button if button.label == label)


def labels(test):
    return {button.label for button in test.button}


def test_the_list_says_state_progress_and_whom_a_job_waits_for(root, open_page, text_of, quiet):
    test = open_page("jobs", root=root)
    rows = table(test)
    assert rows["state"].str.split(" ", n=1).str[1].value_counts().to_dict() == {
        "queued": 2, "running": 1, "succeeded": 1, "failed": 1, "cancelled": 1,
    }  # fmt: skip
    running = rows[rows["state"].str.contains("running")].iloc[0]
    assert running["progress"] == 29 and running["rate"] == 4 and running["left"] == "18 s"
    waits = dict(zip(rows["name"], rows["waits"], strict=True))
    assert waits["a"].startswith("number 1, after <img") and waits["b"] == "number 2, after a"
    assert "ModelError" in waits["broke"] and "6 jobs: 1 running" in text_of(test)
    assert quiet == [root.resolve()]


def test_filters_by_state_and_kind(root, open_page, text_of):
    test = open_page("jobs", root=root, state="failed")
    assert table(test)["name"].tolist() == ["broke"]
    test = open_page("jobs", root=root)
    test.selectbox(key="jobs-kind").set_value("world.data").run()
    assert set(table(test)["kind"]) == {"world.data"}
    test = open_page("jobs", root=root, state="cancelled", job=key_of(root, "failed"))
    assert "broke" in text_of(test), "what is open stays open when it is filtered out"


def test_a_link_opens_a_job_and_a_wrong_one_is_said(root, open_page, text_of):
    key = key_of(root, "succeeded")
    test = open_page("jobs", root=root, job=key)
    assert key in text_of(test).replace("\\", "") and test.query_params["job"] == key
    for wrong in ("nothing", "../jobs", HOSTILE):
        test = open_page("jobs", root=root, job=wrong)
        assert "There is no job called" in test.warning[0].value and "job" not in test.query_params


def test_a_failed_job_shows_its_error_and_last_lines(root, open_page, text_of):
    test = open_page("jobs", root=root, job=key_of(root, "failed"))
    assert "ModelError" in test.error[0].value
    assert any(code.value.endswith("last") for code in test.code)
    assert {"Resume", "Drop them and start over"} <= labels(test) and "Cancel" not in labels(test)


@pytest.mark.parametrize("state", ["failed", "running"])
def test_text_of_jobs_never_becomes_markup(state, root, open_page):
    test = open_page("jobs", root=root, job=key_of(root, state))
    for element in test.get("html"):
        assert "<img" not in str(element.value)
    for kind in ("markdown", "caption", "error", "warning", "info", "subheader"):
        for element in getattr(test, kind):
            unescaped = json.dumps(str(element.value).replace("\\<", "").replace("\\[", "").replace("\\*", ""))
            assert "<img" not in unescaped and "[x]" not in unescaped and "**bold" not in unescaped


def test_resume_and_start_over(root, open_page):
    key = key_of(root, "failed")
    (root / "jobs" / key / "checkpoints").mkdir()
    test = open_page("jobs", root=root, job=key)
    button(test, "Resume").click().run()
    assert key in [job.key for job in list_jobs(Workspace(root)) if job.state == "queued"]
    assert (root / "jobs" / key / "checkpoints").exists() and {"Cancel", "Earlier", "Later"} <= labels(test)
    other = key_of(root, "cancelled")
    (root / "jobs" / other / "checkpoints").mkdir()
    test = open_page("jobs", root=root, job=other)
    button(test, "Drop them and start over").click().run()
    assert not (root / "jobs" / other / "checkpoints").exists()
    assert other in [job.key for job in list_jobs(Workspace(root)) if job.state == "queued"]


def test_cancel_and_move_in_the_queue(root, open_page):
    def waiting():
        rows = table(open_page("jobs", root=root))
        return rows[rows["waits"].str.startswith("number")].sort_values("waits")["name"].tolist()

    assert waiting() == ["a", "b"]
    last = next(job.key for job in list_jobs(Workspace(root)) if job.name == "b")
    button(open_page("jobs", root=root, job=last), "Earlier").click().run()
    assert waiting() == ["b", "a"]
    button(open_page("jobs", root=root, job=last), "Cancel").click().run()
    assert waiting() == ["a"]
    running = key_of(root, "running")
    test = open_page("jobs", root=root, job=running)
    button(test, "Cancel").click().run()
    assert (root / "jobs" / running / "cancel").exists() and button(test, "Cancel").disabled
    assert "being cancelled" in table(test)["state"].str.cat()


def test_nothing_can_be_changed_where_other_machines_reach_the_app(root, open_page, text_of, monkeypatch):
    monkeypatch.setattr("rmviz.ui.jobs.st.get_option", lambda name: "0.0.0.0")
    test = open_page("jobs", root=root, job=key_of(root, "running"))
    assert button(test, "Cancel").disabled and button(test, "Keep").disabled
    assert "Other machines can reach this app" in text_of(test)


def test_a_read_only_workspace_wakes_nobody(root, open_page, monkeypatch, quiet):
    monkeypatch.setattr("rmviz.ui.router.is_read_only", lambda: True)
    test = open_page("jobs", root=root, job=key_of(root, "failed"))
    assert not quiet and button(test, "Resume").disabled


def test_queue_settings_are_kept(root, open_page):
    test = open_page("jobs", root=root)
    test.number_input[0].set_value(3)
    button(test, "Keep").click().run()
    assert read_settings(root) == QueueSettings(slots=3)


def test_without_jobs_the_page_says_what_to_do(open_page, text_of, tmp_path):
    words = text_of(open_page("jobs", root=tmp_path / "nothing"))
    assert "No job has been launched" in words and "rmviz demo" in words
    assert not (tmp_path / "nothing").exists()


def test_parents_and_results_are_links(planted, fake, open_page, tmp_path, text_of):
    for kind in ("dataset", "sae", "reward_model", "features"):
        target = tmp_path / kind / planted[kind].id
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(planted[kind].folder)
    config = EffectsConfig(sae=planted["sae"].id, dataset="dataset-gone")
    key = make_job(tmp_path, "effects", config, "succeeded", artifact=planted["features"].id)
    test = open_page("jobs", root=tmp_path, job=key)
    links = [str(link.proto.query_string) for link in test.get("page_link")]
    assert any(planted["sae"].id in link and planted["reward_model"].id in link for link in links)
    assert any(planted["features"].id in link for link in links)
    assert "not in the workspace" in text_of(test)
    assert any("rmviz effects" in code.value for code in test.code)


def test_settings_of_another_version_are_shown_as_they_are(open_page, tmp_path, text_of):
    key = make_job(tmp_path, "world.data", WorldDataConfig(), "failed", error="x")
    file = tmp_path / "jobs" / key / "config.json"
    file.write_text(json.dumps(config_file("world.data", WorldDataConfig()) | {"colour": "<b>"}))
    words = text_of(open_page("jobs", root=tmp_path, job=key))
    assert "&lt;b&gt;" in words and "cannot run these settings" in words


def test_curves_of_several_runs(root, open_page):
    test = open_page("jobs", root=root, job=key_of(root, "running"))
    assert test.multiselect(key="curve-metrics-world.policy").value == ["loss"]
    other = key_of(root, "succeeded")
    test.multiselect(key=f"curve-runs-{key_of(root, 'running')}").set_value([other]).run()
    test.slider(key="curve-smoothing").set_value(0.5).run()
    test.toggle(key="curve-log").set_value(True).run()
    (chart,) = test.get("vega_lite_chart")
    spec = json.loads(chart.proto.spec)
    assert len(spec["layer"][1]["encoding"]["color"]["scale"]["domain"]) == 2
    assert spec["encoding"]["y"]["scale"]["type"] == "log" and not test.error
    assert any("n = 80 reports · smoothing 0.5" in caption.value for caption in test.caption)


def test_a_hundred_megabytes_of_log_cost_nothing(open_page, tmp_path):
    key = make_job(tmp_path, "world.data", WorldDataConfig(), "failed", error="x")
    with (tmp_path / "jobs" / key / "log.txt").open("wb") as file:
        file.seek(100 << 20)
        file.write(b"\nthe very end\n")
    start = time.perf_counter()
    test = open_page("jobs", root=tmp_path, job=key)
    assert time.perf_counter() - start < 5
    logs = [str(html.value) for html in test.get("html") if "<pre" in str(html.value)]
    assert len(logs) == 1 and "the very end" in logs[0] and len(logs[0]) < 500_000


def test_a_thousand_finished_jobs_open_fast(open_page, tmp_path):
    for seed in range(1000):
        make_job(tmp_path, "world.data", WorldDataConfig(seed=seed), "succeeded", reports=[{"step": 100}])
    assert len(table(open_page("jobs", root=tmp_path))) == 1000
    times = []
    for _ in range(3):
        start = time.perf_counter()
        open_page("jobs", root=tmp_path)
        times.append(time.perf_counter() - start)
    assert min(times) < 1.5, times


def test_metrics_are_read_as_they_grow(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert len(read_metrics(path)) == 0
    path.write_text('{"step": 0, "time": 1, "loss": 2}\n{"step": 1, "time"')
    assert read_metrics(path)["loss"].tolist() == [2]
    with path.open("a") as file:
        file.write(': 2, "loss": 1.5, "accuracy": 1}\n')
    grown = read_metrics(path)
    assert grown["loss"].tolist() == [2, 1.5] and metric_names(grown) == ["loss", "accuracy"]
    os.remove(path)
    path.write_text('{"step": 0, "time": 9, "loss": 7}\n')
    assert read_metrics(path)["loss"].tolist() == [7], "the job began anew"
    path.unlink()
    assert len(read_metrics(path)) == 0


def test_only_new_lines_are_read(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0, "time": 1, "loss": 2}\n' * 1000)
    read_metrics(path)
    seen = []
    monkeypatch.setattr(job_metrics, "parsed", lambda lines: seen.append(len(lines)) or parsed(lines))
    with path.open("a") as file:
        file.write('{"step": 1, "time": 2, "loss": 1}\n')
    assert len(read_metrics(path)) == 1001 and seen == [33]


def test_lines_that_are_no_json_are_left_out():
    lines = b'{"loss": 1}\nnonsense\n[3]\n{"loss": "x"}\n{"loss": 2, "note": "a"}\n' + b"[" * 50_000
    assert parsed(lines)["loss"].dropna().tolist() == [1, 2]
    assert len(parsed(b"\x00\xff\n\n")) == 0


def test_a_curve_drops_what_a_resumed_job_did_again():
    rows = [(0, 5.0), (1, 4.0), (2, 3.0), (1, 4.5), (2, 2.5), (3, 1.0)]
    frame = parsed(
        "\n".join(json.dumps({"step": s, "time": 60.0 * i, "loss": v}) for i, (s, v) in enumerate(rows)).encode()
    )
    x, y = curve(frame, "loss", "step")
    assert x.tolist() == [0, 1, 2, 3] and y.tolist() == [5, 4.5, 2.5, 1]
    x, y = curve(frame, "loss", "time")
    assert x.tolist() == [0, 1, 2, 3, 4, 5] and len(y) == 6
    assert len(curve(frame, "absent", "step")[0]) == 0


def test_half_a_million_reports_stay_smooth(tmp_path):
    path = tmp_path / "metrics.jsonl"
    line = '{"time": %d, "step": %d, "total": 500000, "rate": 3.0, "loss": 0.5}\n'
    path.write_text("".join(line % (step, step) for step in range(500_000)))
    assert len(read_metrics(path)) == 500_000
    with path.open("a") as file:
        file.write(line % (500_000, 500_000))
    start = time.perf_counter()
    x, _ = curve(read_metrics(path), "loss", "step")
    assert time.perf_counter() - start < 0.5 and np.array_equal(x, np.arange(500_001))


def test_a_log_looks_as_in_a_terminal():
    assert clean_log("a\r\nb\x1b[31mred\x1b[0m\n 10%\r 50%\r100%\nlast\r\n") == "a\nbred\n100%\nlast"


def test_words(root):
    jobs = list_jobs(Workspace(root), progress=True)
    running = next(job for job in jobs if job.state == "running")
    assert progress_words(running) == "29 of 100 · 29 % · 4 steps/s · 18 s left"
    assert set(waiting_words(jobs, 5).values()) == {"number 1, starts now", "number 2, after a"}
    assert size(512) == "512 B" and size(3 << 30) == "3.0 GiB"
    assert is_loopback("127.0.0.1") and is_loopback("localhost") and not is_loopback("") and not is_loopback("10.0.0.1")
    again = [job for job in jobs if job.kind == "world.data"]
    assert run_names(again) == [job.name for job in again] and len(set(run_names([again[0], *again]))) == 2
