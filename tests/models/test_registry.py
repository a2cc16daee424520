"""Networks are found by name, and a wrong name or option is answered with the right ones."""

from __future__ import annotations

import pytest

from fsr_deploy.errors import ExitCode, UsageError
from fsr_deploy.models import registry


def test_an_unknown_model_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(UsageError, match=r"no model is called 'aminett'; the models are: .*aminet, aminet-s") as caught:
        registry.build("aminett")
    assert caught.value.exit_code == ExitCode.USAGE


def test_an_unknown_option_is_answered_with_the_options_there_are() -> None:
    with pytest.raises(UsageError, match="aminet has no option 'chanels'; its options are: channels, heads, mid"):
        registry.build("aminet", chanels=8)


def test_an_option_overrides_the_records() -> None:
    assert registry.build("aminet-s", channels=8, mid=8).head.out_channels == 8


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="model 'aminet' is registered twice"):
        registry.register(registry.find("aminet"))


def test_names_are_listed_by_pattern() -> None:
    assert registry.names("aminet.single?") == ["aminet.single3", "aminet.single5", "aminet.single7"]
    assert registry.names("unknown*") == []


def test_the_table_shows_our_figures_beside_the_published_ones() -> None:
    rows = registry.markdown("aminet").splitlines()
    assert len(rows) == 3
    assert rows[2].endswith("| 13.24 | 12.62 | 14.83 | 15.60 | thop |")
