"""What `rmviz demo` and `rmviz calibrate` do: build the planted world, and see how much of its truth is found."""

import json
import sys
import time
from typing import Any

from rmviz.jobs.progress import TerminalProgress
from rmviz.store.artifact import write_json
from rmviz.store.workspace import Workspace, writing


def build_demo(space: Workspace, progress: TerminalProgress) -> dict[str, Any]:
    """Everything of the planted world that is not there yet, and what the tool finds of its truth."""
    from rmviz.worker import execute
    from rmviz.world.recipe import demo_configs

    steps = demo_configs()
    start = time.monotonic()
    for number, (title, kind, config) in enumerate(steps, start=1):
        sys.stderr.write(f"[{number}/{len(steps) + 1}] {title}\n")
        try:
            execute(kind, config, space, progress)
        finally:
            progress.end()
    sys.stderr.write(f"[{len(steps) + 1}/{len(steps) + 1}] calibration\n")
    found = calibrated(space, progress)
    sys.stderr.write(f"The planted world is ready in {space.root} ({time.monotonic() - start:.0f} s).\n")
    return found


def calibrated(space: Workspace, progress: TerminalProgress) -> dict[str, Any]:
    """The calibration on the newest effects of the planted world, from the workspace where it has been done."""
    file = space.root / "calibration.json"
    if file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["effects"] == space.resolve("world-effects", "effects").id:
            return found
    from rmviz.ablation.calibrate import calibrate as measure

    start = time.monotonic()
    try:
        found = measure(
            space, lambda step, total: progress("calibrate", step, total, step / (time.monotonic() - start), {})
        )
    finally:
        progress.end()
    with writing(space.root):
        write_json(file, found)
    return found


def calibrated_probes(space: Workspace, progress: TerminalProgress) -> dict[str, Any]:
    """What probes and crosscoder find of the planted misalignment, and how exactly waterfalls sum; what is done is not redone."""
    from rmviz.crosscoder.calibrate import crosscoder_figures
    from rmviz.probes.calibrate import probe_figures
    from rmviz.worker import execute

    start: list[float] = []

    def told(step: int, total: int) -> None:
        start.append(time.monotonic())
        progress("waterfalls", step, total, step / max(start[-1] - start[0], 1e-9), {})

    try:
        found = probe_figures(space, lambda kind, config: execute(kind, config, space, progress), told)
        return found | crosscoder_figures(space, lambda kind, config: execute(kind, config, space, progress))
    finally:
        progress.end()
