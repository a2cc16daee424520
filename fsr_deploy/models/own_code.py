"""Networks in a Python file of the user's own, named as ``mynet.py:build``.

The file is code, so it is run only where the user names it: on the command line or as an argument, never because a
checkpoint or a bundle does.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fsr_deploy.errors import FsrError, InputError, UsageError
from fsr_deploy.models import registry
from fsr_deploy.models.registry import ModelRecord

_TRIED = 16  # the side of the picture that a network is tried with
_loaded: dict[tuple[Path, str], ModelRecord] = {}


def resolve(model: str) -> str:
    """Return the registered name of what a user calls a model; ``FILE.py:NAME`` is run and registered first.

    NAME is a ModelRecord, or a function or class that builds a network which enlarges its input. Raises InputError for
    a file that is missing, that breaks or that holds no such thing, UsageError for a builder that does not tell how the
    network is to be used.
    """
    match = re.fullmatch(r"(.+\.py):([A-Za-z_]\w*)", model)
    if match is None:
        return model
    path, name = Path(match[1]).resolve(), match[2]
    if (path, name) not in _loaded:
        record = _record(path, name, model)
        registry.names()  # the others first, so that none is hidden
        try:
            _loaded[path, name] = registry.register(record)
        except ValueError:
            raise UsageError(
                f"{model}: a model is called {record.name!r} already; give this one another name in a ModelRecord"
            ) from None
    return _loaded[path, name].name


def _record(path: Path, name: str, given: str) -> ModelRecord:
    found = getattr(_run(path, given), name, None)
    if isinstance(found, ModelRecord):
        return found
    if not callable(found):
        raise InputError(f"{given}: {path.name} has no ModelRecord and no function or class called {name!r}")
    record = ModelRecord(path.stem, found, f"{name} of {path.name}", input="lr", scale=1)
    return replace(record, scale=_scale(found, given))


def _run(path: Path, given: str) -> Any:
    """Run a file as a module, with the files beside it importable."""
    if not path.is_file():
        raise InputError(f"{given}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"fsr_own_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickling look a class's module up by its name
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except FsrError:
        raise
    except Exception as error:
        raise InputError(f"{given}: {path.name} breaks when it is run: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def _scale(build: Callable[..., Any], given: str) -> int:
    """Return how many times a network enlarges a picture, by trying it."""
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            network = build()
            if not isinstance(network, nn.Module):
                raise UsageError(f"{given} returns {type(network).__name__}, a torch.nn.Module is needed")
            shape = network.eval()(torch.zeros(1, 3, _TRIED, _TRIED)).shape
    except FsrError:
        raise
    except Exception as error:
        raise UsageError(
            f"{given}: the network does not take a picture of {_TRIED} pixels a side ({type(error).__name__}: "
            f"{error}); say in a ModelRecord how it is used, see docs/models.md"
        ) from error
    scale = shape[-1] // _TRIED
    if tuple(shape) != (1, 3, scale * _TRIED, scale * _TRIED) or scale == 1:
        raise UsageError(
            f"{given}: the network turns (1, 3, {_TRIED}, {_TRIED}) into {tuple(shape)}, which does not tell how it is "
            "used; say it in a ModelRecord (scale, input), see docs/models.md"
        )
    return scale
