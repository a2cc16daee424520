"""Fixtures of the commands."""

from tests.cli.runs import here as here
