"""The network in PyTorch, behind the Session protocol: the baseline for an engine's latency. It is the network that a
bundle was exported from, without the export's rewrites, with the same pre- and postprocessing inside. Its weights are
random; latency does not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from fsr_deploy.bundle.info import BundleInfo
from fsr_deploy.errors import MissingError, UsageError
from fsr_deploy.exporting.graph.deployable import Deployable
from fsr_deploy.models import registry
from fsr_deploy.models.value_range import adapted
from fsr_deploy.runtime.session import Batch, EngineInfo

Prepare = Callable[[nn.Module], Callable[[torch.Tensor], torch.Tensor]]


def _channels_last(module: nn.Module) -> nn.Module:
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs


def _compiled(module: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    torch._dynamo.reset()
    return torch.compile(module, dynamic=False)


class _InBf16(nn.Module):
    """A network all in BF16, between FP32 tensors."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.to(torch.bfloat16)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images.to(torch.bfloat16)).float()


def _compiled_bf16(module: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Compile a Deployable with its whole network in BF16, channels last."""
    module.network = _InBf16(module.get_submodule("network"))
    return _compiled(_channels_last(module))


class _Autocast(nn.Module):
    """A network whose operations PyTorch casts to BF16 one by one, where it holds that harmless."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            return self.network(images).float()


def _autocast_bf16(module: nn.Module) -> nn.Module:
    module.network = _Autocast(module.get_submodule("network"))
    return _channels_last(module)


WAYS: dict[str, Prepare] = {
    "eager": lambda module: module,
    "channels-last": _channels_last,
    "compile": _compiled,
    "compile-bf16": _compiled_bf16,
    "autocast-bf16": _autocast_bf16,
}


class TorchSession:
    """One of WAYS to run a bundle's network in PyTorch, in FP32 unless its name says BF16, on "cpu" or "cuda:N".

    Raises MissingError where PyTorch cannot use the GPU.
    """

    def __init__(self, bundle: BundleInfo, way: str, device: str) -> None:
        if device != "cpu" and not torch.cuda.is_available():
            raise MissingError(f"--against {way}: this PyTorch has no CUDA; install one that has, or add --device cpu")
        if bundle.model not in registry.names():
            raise UsageError(
                f"--against {way} builds the network by its name, and {bundle.model} came from a file of its own; take "
                "--against onnxruntime or openvino, or the bundle's report.html, which has its time beside eager's"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            record = registry.find(bundle.model)
            network = adapted(registry.build(bundle.model, **bundle.options), record.range)
        module = Deployable(network, bundle.lr_size, record.upsampling).eval().to(device)
        self._run = WAYS[way](module)
        self.info = EngineInfo(
            engine=f"PyTorch {torch.__version__} {way}",
            device=device,
            precision="bf16" if way.endswith("bf16") else "fp32",
            sha256="",
            lr_shape=bundle.lr_shape,
            sr_shape=bundle.sr_shape,
            best_batch=bundle.batches[1],
        )

    @property
    def in_flight(self) -> int:
        """One, because a run uses all cores, or all of the GPU."""
        return 1

    @torch.inference_mode()
    def upscale(self, batch: Batch) -> Batch:
        """Turn (N, h, w, 3) uint8 RGB LR faces into (N, H, W, 3) uint8 RGB SR faces."""
        sr = self._run(torch.from_numpy(batch).to(self.info.device))
        return sr.contiguous().cpu().numpy()

    def close(self) -> None:
        """Free the network; the session cannot be used afterwards."""
        del self._run


def open_baseline(bundle: BundleInfo, way: str, device: str) -> TorchSession:
    """Return a session that has run once; raises MissingError where torch.compile finds no compiler here."""
    session = TorchSession(bundle, way, device)
    if way.startswith("compile"):
        try:
            shape = (1, *bundle.lr_shape, 3)
            session.upscale(torch.zeros(shape, dtype=torch.uint8).numpy())
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise MissingError(f"--against {way}: torch.compile does not work here: {reason}") from error
    return session
