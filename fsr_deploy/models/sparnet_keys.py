"""The names of the public SPARNet's weights (github.com/chaofengc/Face-SPARNet), and how they are called here."""

from __future__ import annotations

import re
from collections.abc import Callable

_PUBLIC = re.compile(r"(encoder|res_layers|decoder)\.\d+\.|out_conv\.")
_BRANCHES = {"1": "skip", "2": "down", "3": "up"}
_RENAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^encoder\.0\.conv2d\.", "head."),
    (r"^encoder\.(\d+)\.", lambda found: f"down.{int(found[1]) - 1}."),
    (r"^res_layers\.", "body."),
    (r"^decoder\.", "up."),
    (r"^out_conv\.conv2d\.", "tail."),
    (r"\.preact_func\.0\.", ".preact."),
    (r"\.shortcut_func\.", ".short."),
    (r"\.att_func\.out_block\.0\.conv2d\.", ".hourglass.out."),
    (r"\.att_func\.b2_plus_1\.", ".hourglass.inner."),
    (r"\.att_func\.b([123])_(\d+)\.", lambda found: f".hourglass.{_BRANCHES[found[1]]}.{int(found[2]) - 1}."),
    (r"\.conv2d\.", ".conv."),
    (r"\bnorm\.norm\.", "norm."),
)


def sparnet_key(name: str) -> str:
    """Return the name that a weight of the public SPARNet has in ``sparnet``; another name comes back as it is."""
    if _PUBLIC.match(name):
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
    return name
