"""Networks are found by name, and a wrong name or option is answered with the right ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fsr_deploy.errors import ExitCode, UsageError
from fsr_deploy.models import registry
from fsr_deploy.models.registry import ModelRecord
from fsr_deploy.models.source import load_source
from tests.networks import Pixel


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


@pytest.fixture
def own_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registrations end with the test."""
    registry.names()
    monkeypatch.setattr(registry, "_RECORDS", dict(registry._RECORDS))


class Entry:
    """An entry point of another package, as importlib.metadata has them."""

    name, value = "mine", "theirs:mine"

    def __init__(self, load: Callable[[], object]) -> None:
        self.load = load


def test_another_package_registers_its_networks_by_an_entry_point(
    own_records: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def several() -> None:
        registry.register(ModelRecord("theirs.a", Pixel))
        registry.register(ModelRecord("theirs.b", Pixel, options={"channels": 2}))

    monkeypatch.setattr(registry, "_waiting", [Entry(lambda: ModelRecord("theirs", Pixel)), Entry(lambda: several)])
    assert registry.names("theirs*") == ["theirs", "theirs.a", "theirs.b"]
    assert registry.build("theirs.b").body[0].out_channels == 2


def test_a_broken_entry_point_is_a_warning_and_the_other_networks_are_there(
    own_records: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> object:
        raise ImportError("No module named 'gone'")

    monkeypatch.setattr(registry, "_waiting", [Entry(broken)])
    assert "aminet" in registry.names()
    registry.names()
    warning = "fsr_deploy.models: mine (theirs:mine) cannot be loaded: ImportError: No module named 'gone'"
    assert capsys.readouterr().err.count(warning) == 1


def test_a_record_knows_which_sizes_its_network_takes(own_records: None) -> None:
    registry.register(ModelRecord("coarse", Pixel, size_multiple=4))
    assert registry.size_options("coarse", 12) == {}
    with pytest.raises(UsageError, match="--lr-size 18: coarse takes multiples of 4"):
        registry.size_options("coarse", 18)
    with pytest.raises(UsageError, match="--lr-size 18: coarse takes multiples of 4"):
        load_source("coarse", lr_size=18)
    assert registry.size_options("mfspnet", 32) == {"lr_size": 32}
    assert (registry.made_for("mfspnet", {}), registry.made_for("aminet", {})) == (16, None)
