"""Fixtures of all rooms."""

from tests.fakes.machine import machine as machine
