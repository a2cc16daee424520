"""The names of the public CTCNet's weights (github.com/IVIPLab/CTCNet), and how they are called here.

The public code keeps every weight of a sum in a tensor of its own, here they are the rows of one tensor; and it makes
modules that it never runs, which are not made here. So a file is renamed as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

# No other network has this name: a file in which it stands is, from there on, in the names of the public code.
SIGN = "tai256_32.weight"
_BLOCK = r"(?:res_layers_(?:down1|down2|up1|up2|back)|res_layers\.\d+)"
_REFINEMENT = r"(?:encoder|alise|decoder_low|decoder_high)"
NEVER_RUN = re.compile(
    rf"scale[123]_[1234]\.scale|(embed|down_input\.[02]|up_input\.[02])\.(weight|bias)|{_BLOCK}\.att\.conv_du\..+"
    rf"|res_layers\.\d+\.(STL64|STL128|conv1|conv2)\..+|res_layers[^.]*\.(\d+\.)?{_REFINEMENT}\.weight1\.scale"
)
_STAGES = {"down1_pre": "encoders.0", "down1": "encoders.1", "down2": "encoders.2"}
_STAGES |= {"up1": "decoders.0", "up2": "decoders.1", "back": "decoders.2"}
_FUSIONS = {"tail352_128": 0, "channel_func_128": 0, "tail288_64": 1, "channel_func_64": 1}
_FUSIONS |= {"tai256_32": 2, "channel_func_32": 2}
_GRIDS = {"conv_32": "halve1", "conv_64": "halve2", "tranpose64_128": "double2", "tranpose_128": "double4"}
_GRIDS |= {"tranpose128_128": "redouble4"}
_PAIR = {"conv": 0, "relu": 1, "conv1": 2}
_BRANCHES = {"1": "skip", "2": "down", "3": "up"}
_RENAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^res_layers_(\w+)\.", lambda found: f"{_STAGES.get(found[1], found[0][:-1])}."),
    (r"^res_layers\.", "body."),
    (r"^(down|up)([123])\.", lambda found: f"{found[1]}s.{int(found[2]) - 1}."),
    (r"^(tai\w+)\.", lambda found: f"fusions.{_FUSIONS[found[1]]}.mix." if found[1] in _FUSIONS else found[0]),
    (r"^(channel_func_\d+)\.", lambda found: f"fusions.{_FUSIONS[found[1]]}.channel_func."),
    (r"^(\w+)\.", lambda found: f"{_GRIDS.get(found[1], found[1])}."),
    # a refinement: its own `alise` is the mixture, its block's `alise` is the last of its refinements
    (r"\.alise\.conv\.", ".mix.0."),
    (r"\.layer4\.conv\.", ".out.0."),
    (r"\.layer([12])\.(conv|relu|conv1)\.", lambda found: f".pairs.{int(found[1]) - 1}.body.{_PAIR[found[2]]}."),
    (r"\.layer([12])\.weight([12])\.", lambda found: f".pairs.{int(found[1]) - 1}.scales.{int(found[2]) - 1}."),
    (r"\.weight([2345])\.scale$", lambda found: f".scales.{int(found[1]) - 2}"),
    (r"\.scale$", ""),
    (r"\.encoder\.", ".fsau.first."),
    (r"\.alise\.", ".fsau.last."),
    # a block of the body
    (r"\.decoder_(low|high)\.", r".\1."),
    (r"\.compress1\.", ".mix."),
    (r"\.compress2\.", ".gate."),
    (r"\.alise2\.conv\.", ".join.0."),
    (r"\.scale_([12])$", lambda found: f".scales.{int(found[1]) - 1}"),
    # channel attention and the hourglass
    (r"\.(atten|channel_func)\.conv_du\.([02])\.", lambda found: f".attention.weigh.{int(found[2]) + 1}."),
    (r"\.att_func2?\.", ".fsau.attention."),
    (r"\.b2_plus_1\.", ".inner."),
    (r"\.b([123])_(\d+)\.", lambda found: f".{_BRANCHES[found[1]]}.{int(found[2]) - 1}."),
    (r"\.out_block\.0\.conv2d\.", ".out."),
    (r"\._64\.", ".match."),
    (r"\.conv2d\.", ".conv."),
    (r"\.norm\.norm\.", ".norm."),
    (r"\.relu\.func\.", ".act."),
    # a transformer block
    (r"\.encoder_level1\.", ".transformers."),
    (r"\.(norm[12])\.body\.", r".\1."),
    (r"\.attn\.temperature$", ".attention.tau"),
    (r"\.attn\.qkv_dwconv\.", ".attention.depthwise."),
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.attn\.project_out\.", ".attention.project."),
    (r"\.ffn\.project_in\.", ".feed_forward.expand."),
    (r"\.ffn\.dwconv\.", ".feed_forward.depthwise."),
    (r"\.ffn\.project_out\.", ".feed_forward.project."),
)
_ROW = re.compile(r"(.+\.scales)\.(\d)")


def ctcnet_key(name: str) -> str:
    """Return the name that a weight of the public CTCNet has in ``ctcnet``, the weight of a sum with its row."""
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def ctcnet_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file, those of a public CTCNet in the names and shapes of ``ctcnet``.

    What the public network never runs is left out; every other tensor is kept, under its own name where it is none of
    the public CTCNet's.
    """
    starts = [name.removesuffix(SIGN) for name in tensors if f".{name}".endswith(f".{SIGN}")]
    renamed: dict[str, Tensor] = {}
    rows: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        start = max((start for start in starts if name.startswith(start)), key=len, default=None)
        if start is None:
            renamed[name] = tensor
            continue
        if NEVER_RUN.fullmatch(name[len(start) :]):
            continue
        own = start + ctcnet_key(name[len(start) :])
        if (row := _ROW.fullmatch(own)) and tensor.shape == (1,) and not tensor.is_quantized:
            rows.setdefault(row[1], {})[row[2]] = tensor
        else:
            renamed[own] = tensor
    return renamed | {name: torch.stack([parts[row] for row in sorted(parts)]) for name, parts in rows.items()}
