"""Fixtures of all rooms."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fsr_deploy._util.console import on_terminal
from tests.fakes.machine import machine as machine
from tests.fakes.machine import no_driver as no_driver


@pytest.fixture(autouse=True)
def messages() -> Iterator[None]:
    """Messages of the library are shown as commands show them, so that tests can read them on stderr."""
    with on_terminal():
        yield
