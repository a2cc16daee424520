"""Fixtures of all rooms."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
from torch.onnx._internal.exporter import _registration

from fsr_deploy._util.console import on_terminal
from tests.fakes.machine import machine as machine
from tests.fakes.machine import no_driver as no_driver


@pytest.fixture(autouse=True)
def messages() -> Iterator[None]:
    """Messages of the library are shown as commands show them, so that tests can read them on stderr."""
    with on_terminal():
        yield


@pytest.fixture(autouse=True, scope="session")
def operators_read_once() -> Iterator[None]:
    """PyTorch's exporter parses the source of its 500 operators in each export, which takes two seconds."""
    operators = _registration.onnxscript_apis
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators, "get_torchlib_ops", functools.cache(operators.get_torchlib_ops))
        yield
