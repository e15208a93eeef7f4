import os
import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmviz.jobs.interrupts import deferred_interrupt
from rmviz.training.figures import even_steps, length_baseline, pair_accuracy
from rmviz.training.progress import last_checkpoint, mark_complete
from rmviz.types import Pair


def test_a_tie_counts_half():
    assert pair_accuracy(np.array([2.0, 1.0, 1.0]), np.array([1.0, 1.0, 2.0])) == 0.5


def test_the_length_baseline_prefers_the_longer_reply():
    pairs = [
        Pair(pair_id="1", prompt="", chosen="long", rejected="x"),
        Pair(pair_id="2", prompt="", chosen="x", rejected="y"),
    ]
    assert length_baseline(pairs) == 0.75


@given(st.integers(1, 500), st.integers(1, 20))
def test_kept_steps_are_even_and_end_with_the_last(num_steps, num_checkpoints):
    steps = even_steps(num_steps, num_checkpoints)
    assert steps[-1] == num_steps and len(steps) == min(num_steps, num_checkpoints) and steps[0] >= 1
    gaps = np.diff([0, *steps])
    assert gaps.max() - gaps.min() <= 1


@pytest.fixture
def checkpoints(tmp_path):
    for step in (5, 10, 15):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_text(str(step) * 100)
        if step < 15:
            mark_complete(folder)
    return tmp_path


def test_the_newest_complete_checkpoint_is_taken(checkpoints):
    assert last_checkpoint(checkpoints) == checkpoints / "checkpoint-10"


@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "unmark", "mark"])
def test_a_damaged_checkpoint_is_passed_over(checkpoints, damage):
    newest = checkpoints / "checkpoint-10"
    weights, mark = newest / "weights", newest / "complete.json"
    content = weights.read_text()
    match damage:
        case "cut":
            weights.write_text(content[:-1])
        case "flip":
            weights.write_text("9" + content[1:])
        case "remove":
            weights.unlink()
        case "unmark":
            mark.unlink()
        case "mark":
            mark.write_text(mark.read_text()[:10])
    assert last_checkpoint(checkpoints) == checkpoints / "checkpoint-5"


def test_no_checkpoint_is_none(tmp_path):
    assert last_checkpoint(tmp_path / "none") is None


def test_ctrl_c_waits_for_the_step_and_a_second_one_does_not():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), deferred_interrupt() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.wait(1)
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)
