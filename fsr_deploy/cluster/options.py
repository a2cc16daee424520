"""What a user may choose about a run on a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from fsr_deploy.errors import UsageError
from fsr_deploy.runtime.open import BACKENDS, check_backend

LOCAL = "local"
AUTO = "auto"
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):\d{1,5}")
_GPUS = ("cuda", "cuda:all")
_CPUS = ("cpu", "openvino:cpu")


@dataclass(frozen=True)
class ClusterOptions:
    """Where a run takes place and with which engine; the command's options, one to one.

    ``address`` is "local" for a cluster that is started on this machine and ends with the run, "auto" for the one that
    this machine belongs to, or HOST:PORT of its head. ``device`` is "auto", "cpu" or "cuda", always of the nodes.
    Raises UsageError for anything else.
    """

    engine: str
    address: str
    device: str = "auto"
    backend: str | None = None
    trust: bool = False

    def __post_init__(self) -> None:
        if self.address not in (LOCAL, AUTO) and not _ADDRESS.fullmatch(self.address):
            raise UsageError(f"--cluster {self.address}: give local, auto or the HOST:PORT of a cluster's head node")
        if self.device.lower() not in ("auto", *_GPUS, *_CPUS):
            raise UsageError(f"--device {self.device}: a cluster uses all of its devices; give auto, cpu or cuda")
        check_backend(self.backend, self.node_device)

    @property
    def node_device(self) -> str:
        """The device as a process sees it that was given one: Ray shows it no other GPU."""
        return "cuda:0" if self.device in _GPUS else self.device

    @property
    def gpus(self) -> bool | None:
        """Whether the run is for GPUs, None where that is for the cluster to say."""
        if self.device == "auto" and self.backend not in BACKENDS[1:]:
            return None
        return self.device in _GPUS

    @property
    def engine_path(self) -> str:
        """The engine's path from any folder."""
        return str(Path(self.engine).absolute())
