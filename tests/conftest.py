"""Fixtures of all rooms."""

from tests.fakes.machine import machine as machine
from tests.fakes.machine import no_driver as no_driver
