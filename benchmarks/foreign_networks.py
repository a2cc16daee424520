"""The networks of benchmarks/foreign.py: small variants of other people's architectures, random weights on disk."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsr_deploy.errors import FsrError
from fsr_deploy.models.source import load_source

SPANDREL, EXTRA = "spandrel.architectures", "spandrel_extra_arches.architectures"
SMALL = {"depths": (2, 2), "num_heads": (2, 2), "embed_dim": 16, "upscale": 4, "window_size": 8}
SHUFFLE = {**SMALL, "img_size": 32, "upsampler": "pixelshuffle"}
FACE = 512
CONTRAST = 0.2  # standard deviation of a picture's values in [0, 1]


@dataclass(frozen=True)
class Network:
    """A network: its module, its class and the arguments of a small variant, and the side of the pictures it gets.

    ``batches`` are those that it is proven at. ``lively`` weights are changed so that every part of the network counts,
    see ``enliven``; the others are as initialised.
    """

    module: str
    builder: str
    arguments: dict[str, Any] = field(default_factory=dict)
    side: int = 32
    batches: tuple[int, int, int] = (1, 2, 4)
    lively: bool = True


def _first(module: str, builder: str, arguments: dict[str, Any], side: int = 32) -> Network:
    return Network(module, builder, arguments, side, (1, 1, 1) if side == FACE else (1, 2, 4), lively=False)


NETWORKS: dict[str, Network] = {
    "Compact": _first(f"{SPANDREL}.Compact.__arch.SRVGG", "SRVGGNetCompact", {"num_feat": 16, "num_conv": 8}),
    "RCAN": _first(f"{SPANDREL}.RCAN", "RCAN", {"n_resgroups": 2, "n_resblocks": 4, "n_feats": 32}),
    "ESRGAN": _first(f"{SPANDREL}.ESRGAN.__arch.RRDB", "RRDBNet", {"num_filters": 16, "num_blocks": 4, "scale": 4}),
    "SPAN": _first(f"{SPANDREL}.SPAN", "SPAN", {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 16}),
    "SAFMN": _first(f"{SPANDREL}.SAFMN", "SAFMN", {"dim": 16, "n_blocks": 4, "upscaling_factor": 4}),
    "SwinIR": _first(f"{SPANDREL}.SwinIR", "SwinIR", SHUFFLE),
    "NAFNet": _first(
        f"{SPANDREL}.NAFNet",
        "NAFNet",
        {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]},
    ),
    "SCUNet": _first(f"{SPANDREL}.SCUNet", "SCUNet", {"config": [2] * 7, "input_resolution": 64}, 64),
    "OmniSR": _first(f"{SPANDREL}.OmniSR", "OmniSR", {"num_feat": 16, "up_scale": 4}),
    "HAT": _first(f"{SPANDREL}.HAT", "HAT", {**SHUFFLE, "compress_ratio": 4, "squeeze_factor": 8}),
    "Swin2SR": _first(f"{SPANDREL}.Swin2SR", "Swin2SR", SHUFFLE),
    "DRCT": _first(f"{SPANDREL}.DRCT", "DRCT", {**SHUFFLE, "embed_dim": 24, "gc": 8}),
    "SRFormer": _first(f"{EXTRA}.SRFormer", "SRFormer", SHUFFLE),
    "Restormer": _first(
        f"{EXTRA}.Restormer",
        "Restormer",
        {"dim": 8, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1, "heads": [1, 1, 2, 2]},
    ),
    "RestoreFormer": _first(f"{SPANDREL}.RestoreFormer", "RestoreFormer", {}, FACE),
    "GFPGAN": _first(f"{SPANDREL}.GFPGAN", "GFPGAN", {}, FACE),
    "SwiftSRGAN": Network(
        f"{SPANDREL}.SwiftSRGAN.__arch.SwiftSRGAN", "Generator", {"num_channels": 16, "num_blocks": 3}
    ),
    "DnCNN": Network(f"{SPANDREL}.DnCNN", "DnCNN", {"in_nc": 3, "out_nc": 3, "nc": 16, "nb": 5}),
    "FDnCNN": Network(
        f"{SPANDREL}.DnCNN", "DnCNN", {"in_nc": 4, "out_nc": 3, "nc": 16, "nb": 8, "act_mode": "R", "mode": "FDnCNN"}
    ),
    "DRUNet": Network(f"{SPANDREL}.DRUNet", "DRUNet", {"in_nc": 4, "out_nc": 3, "nc": [8, 16, 24, 32], "nb": 2}),
    "FBCNN": Network(f"{SPANDREL}.FBCNN", "FBCNN", {"nc": [8, 16, 32, 512], "nb": 2}),
    "PLKSR": Network(f"{SPANDREL}.PLKSR", "PLKSR", {"dim": 16, "n_blocks": 3}),
    "RealPLKSR": Network(f"{SPANDREL}.PLKSR", "RealPLKSR", {"dim": 16, "n_blocks": 3, "dysample": True}),
    "MoSR": Network(f"{SPANDREL}.MoSR", "MoSR", {"dim": 16, "n_block": 2}),
    "MoSR (GPS)": Network(f"{SPANDREL}.MoSR", "MoSR", {"dim": 16, "n_block": 2, "upsampler": "gps"}),
    "MoESR": Network(f"{SPANDREL}.MoESR", "MoESR", {"dim": 16, "n_blocks": 2, "n_block": 2}),
    "SeemoRe": Network(f"{SPANDREL}.SeemoRe", "SeemoRe", {"embedding_dim": 16, "num_layers": 2, "num_experts": 3}),
    "SAFMN BCIE": Network(f"{SPANDREL}.SAFMNBCIE", "SAFMNBCIE", {"dim": 16, "n_blocks": 2, "num_layers": 2}),
    "MMRealSR": Network(
        f"{SPANDREL}.MMRealSR",
        "MMRealSR",
        {
            "num_in_ch": 3,
            "num_out_ch": 3,
            "num_feat": 16,
            "num_block": 2,
            "num_grow_ch": 8,
            "num_feats": [8, 16, 16, 16],
            "num_blocks": [1, 1, 1, 1],
        },
    ),
    "RealCUGAN 2x": Network(f"{SPANDREL}.RealCUGAN", "UpCunet2x", {}, 48),
    "RealCUGAN 3x": Network(f"{SPANDREL}.RealCUGAN", "UpCunet3x", {}, 48),
    "RealCUGAN 4x": Network(f"{SPANDREL}.RealCUGAN", "UpCunet4x", {}, 48),
    "RealCUGAN 2x fast": Network(f"{SPANDREL}.RealCUGAN", "UpCunet2x_fast", {}, 48),
    "RetinexFormer": Network(f"{SPANDREL}.RetinexFormer", "RetinexFormer", {"n_feat": 16, "stage": 1}),
    "HVI-CIDNet": Network(f"{SPANDREL}.HVICIDNet", "HVICIDNet", {"channels": [8, 8, 16, 32], "heads": [1, 2, 4, 8]}),
    "MixDehazeNet": Network(f"{SPANDREL}.MixDehazeNet", "MixDehazeNet", {"embed_dims": [8, 16, 24, 16, 8]}, 64),
    "KBNet S": Network(
        f"{SPANDREL}.KBNet",
        "KBNet_s",
        {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]},
    ),
    "KBNet L": Network(
        f"{SPANDREL}.KBNet",
        "KBNet_l",
        {"dim": 48, "num_blocks": [1, 1, 1, 1], "num_refinement_blocks": 1},
    ),
    "FFTformer": Network(
        f"{SPANDREL}.FFTformer", "FFTformer", {"dim": 8, "num_blocks": [1, 1, 1], "num_refinement_blocks": 1}
    ),
    "DCTLSA": Network(f"{SPANDREL}.DCTLSA", "DCTLSA", {"nf": 20}),
    "DITN": Network(f"{SPANDREL}.DITN.__arch.DITN_Real", "DITN_Real", {"dim": 12, "ITL_blocks": 1, "SAL_blocks": 1}),
    "CRAFT": Network(f"{SPANDREL}.CRAFT", "CRAFT", {"embed_dim": 48, "depths": [2, 2], "num_heads": [6, 6]}),
    "FDAT": Network(
        f"{SPANDREL}.FDAT",
        "FDAT",
        {"embed_dim": 16, "num_groups": 1, "depth_per_group": 1, "num_heads": 2, "mid_dim": 16},
    ),
    "DAT": Network(
        f"{SPANDREL}.DAT",
        "DAT",
        {"embed_dim": 36, "split_size": [8, 16], "depth": [3, 3], "num_heads": [2, 2], "upscale": 4},
        64,
    ),
    "RGT": Network(f"{SPANDREL}.RGT", "RGT", {"embed_dim": 36, "depth": [2, 2], "num_heads": [2, 2], "upscale": 4}),
    "ATD": Network(f"{SPANDREL}.ATD", "ATD", {**SHUFFLE, "num_tokens": 16, "category_size": 256}),
    "GRL": Network(
        f"{SPANDREL}.GRL",
        "GRL",
        {
            "embed_dim": 16,
            "depths": [2, 2],
            "num_heads_window": [2, 2],
            "num_heads_stripe": [2, 2],
            "stripe_size": [8, 16],
            "stripe_shift": True,
            "anchor_window_down_factor": 2,
            "upscale": 4,
            "upsampler": "pixelshuffle",
        },
        64,
    ),
    "Uformer": Network(f"{SPANDREL}.Uformer", "Uformer", {"embed_dim": 8, "depths": [2, 1, 1, 1, 1, 1, 1, 1, 2]}, 128),
    "IPT": Network(f"{SPANDREL}.IPT", "IPT", {"n_feats": 16, "num_layers": 2, "scale": [4], "num_heads": 12}, 48),
    "AuraSR": Network(
        f"{SPANDREL}.AuraSR.__arch.aura_sr",
        "UnetUpsampler",
        {
            "dim": 8,
            "image_size": None,
            "input_image_size": None,
            "style_network": {"dim_in": 16, "dim_out": 64, "depth": 2},
        },
    ),
    "LaMa": Network(f"{SPANDREL}.LaMa", "LaMa", {"in_nc": 4, "out_nc": 3}, 64),
    "MAT": Network(f"{EXTRA}.MAT", "MAT", {}, FACE, (1, 1, 1)),
    "CodeFormer": Network(f"{EXTRA}.CodeFormer", "CodeFormer", {}, FACE, (1, 1, 1)),
    "DDColor": Network(
        f"{EXTRA}.DDColor", "DDColor", {"encoder_name": "convnext-t", "nf": 16, "num_output_channels": 2}, 256
    ),
    "AdaCode": Network(
        f"{EXTRA}.AdaCode",
        "AdaCode",
        {"codebook_params": [[32, 16, 16]], "LQ_stage": True, "scale_factor": 4},
        32,
        (1, 1, 1),
    ),
    "FeMaSR": Network(
        f"{EXTRA}.FeMaSR",
        "FeMaSR",
        {"codebook_params": [[32, 64, 32]], "LQ_stage": True, "scale_factor": 4},
        32,
        (1, 1, 1),
    ),
    "M3SNet": Network(
        f"{EXTRA}.M3SNet",
        "M3SNet",
        {"width": 8, "middle_blk_num": 1, "enc_blk_nums": [1, 1, 1, 1], "dec_blk_nums": [1, 1, 1, 1]},
    ),
    "MPRNet": Network(
        f"{EXTRA}.MPRNet",
        "MPRNet",
        {"n_feat": 16, "scale_unetfeats": 8, "scale_orsnetfeats": 8, "num_cab": 2},
    ),
    "MIRNet2": Network(f"{EXTRA}.MIRNet2", "MIRNet2", {"n_feat": 16, "n_MRB": 1}),
}


def write_checkpoint(name: str, folder: Path) -> Path:
    """Write random weights of a network as its users have them; the same in every run."""
    network = NETWORKS[name]
    torch.manual_seed(0)
    build: Callable[..., nn.Module] = getattr(importlib.import_module(network.module), network.builder)
    module = build(**network.arguments)
    path = folder / f"{name}.pth"
    if network.lively:
        _enliven(module)
    torch.save({"params_ema": module.state_dict()}, path)
    if network.lively:
        try:
            run = load_source(str(path), lr_size=network.side).network
        except FsrError:  # the export says why
            return path
        _calm(run, network.side)
        torch.save({"params_ema": run.network.state_dict()}, path)
    return path


def _enliven(module: nn.Module) -> None:
    """Change weights as initialised so that every part counts, as training does.

    Scales and offsets that begin as one number get noise: a residual that begins with a factor of zero would prove
    nothing. Linear layers get a gain of one: from 0.02 their attention hardly attends.
    """
    with torch.no_grad():
        for weight in module.parameters():
            if weight.numel() > 1 and bool((weight == weight.flatten()[0]).all()):
                weight += 0.1 * torch.randn_like(weight)
        for layer in module.modules():
            if isinstance(layer, nn.Linear) and layer.weight.numel() > 1:
                layer.weight *= (layer.in_features**-0.5 / layer.weight.std()).clamp(max=20)


def _calm(network: nn.Module, side: int) -> None:
    """Give the last layer that runs the scale and offset with which the picture has a picture's contrast and mean.

    A picture that is black and white by clipping hides what is wrong.
    """
    last: list[nn.Module] = []
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    handles = [layer.register_forward_hook(lambda layer, *_: last.append(layer)) for layer in layers]
    noise = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    picture = F.interpolate(noise, size=side, mode="bicubic").clamp(0, 1) * 2 - 1
    with torch.no_grad():
        spread = float(network(picture).std()) / 2
        for handle in handles:
            handle.remove()
        for weight in last[-1].parameters():
            weight *= min(1.0, CONTRAST / spread)
        bias = last[-1].bias
        if isinstance(bias, Tensor):
            before = float(network(picture).mean()) / 2
            bias -= before
            if abs(float(network(picture).mean())) / 2 > abs(before):
                bias += before
