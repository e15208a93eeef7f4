"""How other tools spell the residual stream after a block, and our spelling of it."""

import re

_NAME = re.compile(r"(?:^|\.)(?:layers|layer|blocks|block|h)\.(\d+)(?:\.(hook_resid_post|hook_resid_pre))?$")


def hookpoint_of(hook_name: str) -> str:
    """`layers.L` for a module path or a TransformerLens hook name, empty when it names something else.

    `gpt_neox.layers.2`, `transformer.h.2`, `encoder.layer.2` and `blocks.2.hook_resid_post` all are `layers.2`;
    `blocks.3.hook_resid_pre` is the same place.
    """
    match = _NAME.search(hook_name)
    if not match:
        return ""
    block = int(match[1]) - (match[2] == "hook_resid_pre")
    return f"layers.{block}" if block >= 0 else ""
