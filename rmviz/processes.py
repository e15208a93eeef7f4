"""How processes end, in words."""

import signal


def exit_words(code: int) -> str:
    """An exit status in words."""
    if code == -signal.SIGKILL:
        return "killed: perhaps out of memory"
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"it ended with status {code}"
