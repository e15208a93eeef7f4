"""The gates that keep the tree as it is drawn: import order, fast pages, small files."""

import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "sae_lens", "umap", "trl", "ray", "ribs", "datasets")
PAGES = sorted(path.name for path in (REPO / "pages").glob("*.py"))


def fresh_modules(code: str) -> set[str]:
    """Which heavy modules a fresh interpreter has loaded after running some code."""
    script = f"import sys\n{code}\nprint('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPO, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("LOADED")[-1].split())


def test_imports_flow_in_one_direction():
    done = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_command_line_is_light():
    assert fresh_modules("import rmviz.cli, rmviz.worker") == set()


def test_pages_open_without_heavy_libraries(tmp_path):
    """All in one fresh process: what one page loads, the process has."""
    code = f"""
import os
os.environ["RMVIZ_WORKSPACE"] = {str(tmp_path)!r}
from streamlit.testing.v1 import AppTest
for page in {PAGES!r}:
    test = AppTest.from_file("pages/" + page, default_timeout=60)
    test.session_state["_app_ran"] = True
    test.run()
    assert not test.exception, (page, test.exception)
    loaded = [m for m in {HEAVY!r} if m in sys.modules]
    assert not loaded, (page, loaded)
"""
    assert fresh_modules(code) == set()


def test_files_stay_small():
    long = {
        str(path.relative_to(REPO)): length
        for folder, limit in (("rmviz", 300), ("pages", 120))
        for path in (REPO / folder).rglob("*.py")
        if (length := len(path.read_text().splitlines())) > limit
    }
    assert not long


def test_packages_hold_only_a_docstring():
    for path in (REPO / "rmviz").rglob("__init__.py"):
        text = path.read_text().strip()
        assert text.startswith('"""') and text.endswith('"""') and text.count('"""') == 2, path
