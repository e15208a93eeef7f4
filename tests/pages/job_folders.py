"""Jobs on disk as workers leave them, without any process."""

import json
import time
from pathlib import Path
from typing import Any

from rmviz.configs.files import config_file
from rmviz.jobs.locks import own_host
from rmviz.jobs.run import job_key
from rmviz.store.artifact import write_json


def make_job(
    root: Path, kind: str, config: Any, state: str, *, reports: list[dict[str, float]] | None = None, log: str = "",
    order: float = 0.0, again: int = 1, **details: Any,
) -> str:  # fmt: skip
    """A job's folder in a state; its key."""
    key = job_key(kind, config, again)
    folder = root / "jobs" / key
    folder.mkdir(parents=True, exist_ok=True)
    now = time.time()
    write_json(folder / "config.json", config_file(kind, config))
    write_json(folder / "launch.json", {"submitted": now, "order": order, "runner": "local"})
    write_json(folder / "state.json", {"kind": kind, "state": state, "time": now, "host": own_host(), **details})
    lines = [
        json.dumps({"time": now + step, "total": 100, "rate": 4.0, **line}) for step, line in enumerate(reports or [])
    ]
    if lines:
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if log:
        (folder / "log.txt").write_text(log, encoding="utf-8")
    return key
