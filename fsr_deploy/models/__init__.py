"""The networks and their weights (PyTorch).

fsr_deploy.models.names("aminet*")
fsr_deploy.models.build("aminet")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsr_deploy.models.registry import build as build
    from fsr_deploy.models.registry import find as find
    from fsr_deploy.models.registry import names as names

__all__ = ["build", "find", "names"]


def __getattr__(name: str) -> Any:
    """Load the registry, and PyTorch with it, when it is first asked (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'fsr_deploy.models' has no attribute {name!r}")
    from fsr_deploy.models import registry

    return getattr(registry, name)
