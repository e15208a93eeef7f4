"""Opening the app from the command line."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"


def open_app(root: Path, headless: bool, port: int, host: str = LOOPBACK, names: Sequence[str] = ()) -> None:
    """Become the app's server: this process ends with it."""
    package = Path(__file__).resolve().parent
    script = next(path for path in (package.parent / "app.py", package / "_app" / "app.py") if path.exists())
    flags = [
        f"--server.address={host}",
        *(f"--server.allowedHosts={name}" for name in ("localhost", LOOPBACK, host, *names)),
        f"--server.port={port}",
        f"--server.headless={'true' if headless else 'false'}",
    ]
    flags += ["--server.fileWatcherType=none", "--browser.gatherUsageStats=false", "--client.toolbarMode=minimal"]
    sys.stderr.write(f"rmviz is at http://{host}:{port} (Ctrl-C stops it)\n")
    sys.stderr.flush()
    os.chdir(script.parent)  # .streamlit/config.toml is read from here
    os.environ |= {"RMVIZ_WORKSPACE": str(root), "RMVIZ_WARM": "1"}
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", str(script), *flags])
