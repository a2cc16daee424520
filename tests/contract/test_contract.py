"""Our source against TensorRT's Python API, release by release, without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import fsr_deploy
from fsr_deploy.exporting.tensorrt.config import HARDWARE, OWN_TACTICS, PROFILE_SHARING
from fsr_deploy.exporting.tensorrt.gpus import RTX_GPUS
from fsr_deploy.exporting.tensorrt.network import UNPINNED_LAYERS, WEAKLY_TYPED_FLAGS
from tests.contract.scan import scan, sources
from tests.contract.table import EVERYWHERE, MODULES, RELEASES, RTX, SOMEWHERE, merged, offers, recorded

PACKAGE = Path(fsr_deploy.__file__).parent
HERE = Path(__file__).parent
FOLDERS = {release: Path(sys.prefix) / f"trt-{release}" for release in ("10.16", "11.4")}
BINDINGS = {**dict.fromkeys(FOLDERS, "tensorrt_bindings"), RTX: "tensorrt_rtx"}


def complaints(files: Mapping[str, str]) -> list[str]:
    """Return what our source does that some release does not offer, or that the table does not know."""
    findings = scan(files, merged())
    found = list(findings.unclear)
    for touch in findings.touches:
        function, releases = SOMEWHERE.get((touch.cls, touch.member), ("", ()))
        if touch.member in EVERYWHERE.get(touch.cls, "").split():
            releases = tuple(MODULES)
        elif touch.function != function:
            found.append(f"{touch.place}: {touch.cls}.{touch.member} is not in the table for {touch.function}")
        for release in releases:
            offered = offers(recorded(release), touch.cls, touch.member)
            if not offered or (touch.write and offered == "ro"):
                found.append(f"{touch.place}: {touch.cls}.{touch.member} cannot be used so in TensorRT {release}")
    return found


def test_every_member_that_our_source_touches_is_in_the_table_and_in_the_releases_it_runs_on() -> None:
    assert complaints(sources(PACKAGE)) == []


def test_the_table_holds_nothing_that_our_source_does_not_touch() -> None:
    touched = {(touch.cls, touch.member) for touch in scan(sources(PACKAGE), merged()).touches}
    listed = {(cls, member) for cls, members in EVERYWHERE.items() for member in members.split()} | set(SOMEWHERE)
    assert listed - touched == set()


@pytest.mark.parametrize("release", MODULES)
def test_a_release_offers_all_of_the_table_that_is_meant_for_it(release: str) -> None:
    wanted = [(cls, member) for cls, members in EVERYWHERE.items() for member in members.split()]
    wanted += [key for key, (_, releases) in SOMEWHERE.items() if release in releases]
    assert [key for key in wanted if not offers(recorded(release), *key)] == []


MUTATIONS = {
    "a flag that 11 removed": (
        "exporting/tensorrt/network.py",
        "    config.clear_flag(trt.BuilderFlag.TF32)\n",
        "    config.clear_flag(trt.BuilderFlag.TF32)\n    config.set_flag(trt.BuilderFlag.FP16)\n",
        "BuilderFlag.FP16",
    ),
    "a property that 11 made read-only": (
        "exporting/tensorrt/config.py",
        "    item = tuple(source.shape)[1:]\n",
        "    item = tuple(source.shape)[1:]\n    source.dtype = trt.DataType.FLOAT\n",
        "ITensor.dtype",
    ),
    "a member that 8.6 lacks": (
        "exporting/tensorrt/network.py",
        "index, reason = error.node(), ",
        "index, reason = error.node_name(), ",
        "ParserError.node_name",
    ),
    "a member that no release has": (
        "runtime/tensorrt/lane.py",
        "self._context.execute_async_v3(",
        "self._context.execute_async_v4(",
        "IExecutionContext.execute_async_v4",
    ),
    "a guarded member outside its guard": (
        "exporting/tensorrt/build.py",
        "    monitor = watch(trt, config)\n",
        "    monitor = watch(trt, config)\n    config.progress_monitor = monitor\n",
        "IBuilderConfig.progress_monitor",
    ),
    "an argument too many": (
        "exporting/tensorrt/build.py",
        "builder.build_serialized_network(network, config)",
        "builder.build_serialized_network(network, config, 0, 0)",
        "Builder.build_serialized_network",
    ),
    "a member of something whose type is not said": (
        "exporting/tensorrt/timing_cache.py",
        'config: tensorrt.IBuilderConfig, path: Path | None) -> None:\n    """Write',
        'config, path: Path | None) -> None:\n    """Write',
        "get_timing_cache",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_use_is_reported(name: str) -> None:
    path, old, new, member = MUTATIONS[name]
    files = sources(PACKAGE)
    assert old in files[path]
    files[path] = files[path].replace(old, new)
    assert any(member in complaint for complaint in complaints(files))


@pytest.mark.parametrize(
    ("enum", "names", "releases"),
    [
        ("BuilderFlag", {name for names in WEAKLY_TYPED_FLAGS.values() for name in names}, ("8.6",)),
        ("PreviewFeature", {PROFILE_SHARING}, ("8.6",)),
        ("LayerType", set(UNPINNED_LAYERS), ("8.6",)),
        ("TacticSource", set(OWN_TACTICS), tuple(MODULES)),
        ("HardwareCompatibilityLevel", {name.upper() for name in HARDWARE[::2]}, RELEASES),
        ("HardwareCompatibilityLevel", {name.upper() for name in HARDWARE}, ("10.16", "11.4")),
        ("DataType", {"UINT8", "FLOAT", "HALF"}, tuple(MODULES)),
        ("ComputeCapability", {gpu.replace("_", "").upper() for gpu in RTX_GPUS}, (RTX,)),
    ],
)
def test_members_that_are_looked_up_by_name_exist_where_they_are_needed(
    enum: str, names: set[str], releases: tuple[str, ...]
) -> None:
    for release in releases:
        assert names <= set(recorded(release)["classes"][enum]["enum"])


def run_binding(release: str, *arguments: str) -> str:
    """Run Python with a real binding in place; skips where ``make test`` has not installed it."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    if release in FOLDERS:
        folder = FOLDERS[release]
        if not folder.is_dir():
            pytest.skip(f"{folder} is not there; tests/contract/install.sh installs it")
        environment |= {"PYTHONPATH": f"{folder}:{PACKAGE.parent}", "LD_LIBRARY_PATH": str(folder)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("release", BINDINGS)
def test_what_was_recorded_is_what_the_real_binding_offers(release: str) -> None:
    found: Any = json.loads(run_binding(release, str(HERE / "facts.py"), BINDINGS[release]))
    assert found == recorded(release)


@pytest.mark.parametrize("release", BINDINGS)
def test_our_listeners_are_accepted_by_the_real_binding(release: str) -> None:
    """The logger, profiler and progress monitor are our own classes on top of TensorRT's."""
    assert run_binding(release, str(HERE / "listeners.py"), BINDINGS[release]).split() == [
        "logger",
        "profiler",
        "monitor",
    ]
