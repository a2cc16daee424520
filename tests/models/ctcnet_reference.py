"""CTCNet's weights under the names of its public implementation, each beside the name it has here.

The names are listed module by module, as the public code makes them; what it makes and never runs is listed apart.
"""

from __future__ import annotations

from collections.abc import Iterator

# the public block, the network's, the width, the levels of its hourglass, its transformer blocks
BLOCKS = [
    ("res_layers_down1_pre", "encoders.0", 32, 4, 4),
    ("res_layers_down1", "encoders.1", 64, 4, 6),
    ("res_layers_down2", "encoders.2", 128, 4, 6),
    *((f"res_layers.{i}", f"body.{i}", 128, 2, 0) for i in range(4)),
    ("res_layers_up1", "decoders.0", 128, 4, 6),
    ("res_layers_up2", "decoders.1", 64, 4, 6),
    ("res_layers_back", "decoders.2", 32, 4, 4),
]
HOURGLASS = {"res_layers_down1_pre": "att_func", "res_layers_down1": "att_func", "res_layers_up2": "att_func"}
LAYERS = {
    "head": "head",
    "tail": "tail",
    "conv_32": "halve1",
    "conv_64": "halve2",
    "tranpose64_128": "double2",
    "tranpose_128": "double4",
    "tranpose128_128": "redouble4",
    "tail352_128": "fusions.0.mix",
    "tail288_64": "fusions.1.mix",
    "tai256_32": "fusions.2.mix",
}
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
TRANSFORMER = {
    "norm1.body.weight": "norm1.weight",
    "norm1.body.bias": "norm1.bias",
    "attn.temperature": "attention.tau",
    "attn.qkv.weight": "attention.qkv.weight",
    "attn.qkv_dwconv.weight": "attention.depthwise.weight",
    "attn.project_out.weight": "attention.project.weight",
    "norm2.body.weight": "norm2.weight",
    "norm2.body.bias": "norm2.bias",
    "ffn.project_in.weight": "feed_forward.expand.weight",
    "ffn.dwconv.weight": "feed_forward.depthwise.weight",
    "ffn.project_out.weight": "feed_forward.project.weight",
}
Pairs = Iterator[tuple[str, str]]


def names() -> Pairs:
    """Yield the public name of every weight that is run, and its name here; of the weights of sums, ``NAME[row]``."""
    for public, own in LAYERS.items():
        yield from _both(public, own)
    for way in ("down", "up"):
        for i in range(3):
            for j in (0, 2):
                yield f"{way}{i + 1}.{j}.weight", f"{way}s.{i}.{j}.weight"
    for i, width in enumerate((128, 64, 32)):
        yield from _gate(f"channel_func_{width}", f"fusions.{i}.attention")
    for public, own, width, depth, transformers in BLOCKS:
        yield from _refinement(f"{public}.encoder", f"{own}.fsau.first")
        yield from _hourglass(f"{public}.{HOURGLASS.get(public, 'att_func2')}", f"{own}.fsau.attention", depth, width)
        yield from _refinement(f"{public}.alise", f"{own}.fsau.last")
        for i in range(transformers):
            for theirs, ours in TRANSFORMER.items():
                yield f"{public}.encoder_level1.{i}.{theirs}", f"{own}.transformers.{i}.{ours}"
        if not transformers:
            yield from _frequencies(public, own)


def never_run() -> list[str]:
    """Return the public names of weights that are never run."""
    found = [f"scale{i}_{j}.scale" for i in (1, 2, 3) for j in (1, 2, 3, 4)]
    found += ["embed.weight", "embed.bias", *(f"{way}_input.{j}.weight" for way in ("down", "up") for j in (0, 2))]
    for public, *_, transformers in BLOCKS:
        parts = ("encoder", "alise") if transformers else ("encoder", "alise", "decoder_low", "decoder_high")
        found += [f"{public}.{part}.weight1.scale" for part in parts]
        if public != "res_layers_down1_pre":
            found += [theirs for theirs, _ in _gate(f"{public}.att", "")]
        if not transformers:
            for width in (64, 128):
                for layer in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                    found += [theirs for theirs, _ in _both(f"{public}.STL{width}.{layer}", "")]
            for i in (1, 2):
                found.append(f"{public}.conv{i}.conv2d.weight")
                found += [f"{public}.conv{i}.norm.norm.{part}" for part in NORM]
            found.append(f"{public}.conv1.relu.func.weight")
    return found


def _both(public: str, own: str) -> Pairs:
    yield from ((f"{public}.{part}", f"{own}.{part}") for part in ("weight", "bias"))


def _gate(public: str, own: str) -> Pairs:
    yield from _both(f"{public}.conv_du.0", f"{own}.weigh.1")
    yield from _both(f"{public}.conv_du.2", f"{own}.weigh.3")


def _refinement(public: str, own: str) -> Pairs:
    for i in (0, 1):
        layer, pair = f"{public}.layer{i + 1}", f"{own}.pairs.{i}"
        yield from _both(f"{layer}.conv", f"{pair}.body.0")
        yield f"{layer}.relu.weight", f"{pair}.body.1.weight"
        yield from _both(f"{layer}.conv1", f"{pair}.body.2")
        yield from ((f"{layer}.weight{row + 1}.scale", f"{pair}.scales[{row}]") for row in (0, 1))
    yield f"{public}.alise.conv.weight", f"{own}.mix.0.weight"
    yield from _gate(f"{public}.atten", f"{own}.attention")
    yield f"{public}.layer4.conv.weight", f"{own}.out.0.weight"
    yield from ((f"{public}.weight{row + 2}.scale", f"{own}.scales[{row}]") for row in range(4))


def _hourglass(public: str, own: str, depth: int, width: int) -> Pairs:
    layers = {f"b{i}_{j + 1}": f"{way}.{j}" for i, way in enumerate(("skip", "down", "up"), 1) for j in range(depth)}
    for theirs, ours in {**layers, "b2_plus_1": "inner"}.items():
        yield f"{public}.{theirs}.conv2d.weight", f"{own}.{ours}.conv.weight"
        yield f"{public}.{theirs}.relu.func.weight", f"{own}.{ours}.act.weight"
        yield from ((f"{public}.{theirs}.norm.norm.{part}", f"{own}.{ours}.norm.{part}") for part in NORM)
    yield from _gate(f"{public}.channel_func", f"{own}.attention")
    yield from _both(f"{public}.out_block.0.conv2d", f"{own}.out")
    if width != 64:
        yield from _both(f"{public}._64", f"{own}.match")


def _frequencies(public: str, own: str) -> Pairs:
    """Yield what a block of the body has more than the others."""
    yield from _refinement(f"{public}.decoder_low", f"{own}.low")
    yield from _refinement(f"{public}.decoder_high", f"{own}.high")
    yield from _both(f"{public}.compress1", f"{own}.mix")
    yield from _both(f"{public}.compress2", f"{own}.gate")
    yield f"{public}.alise2.conv.weight", f"{own}.join.0.weight"
    yield from ((f"{public}.scale_{row + 1}.scale", f"{own}.scales[{row}]") for row in (0, 1))
