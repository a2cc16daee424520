"""What every image holds to, read from its Dockerfile; hadolint and the build's own lines are in tests/integration."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from fsr_deploy.runtime.checkup import BASE_PARTS, GPU_PARTS, INSTALLED
from tests.containers.dockerfiles import DOCKERFILES, ROOT, Dockerfile, read

tomllib = pytest.importorskip("tomllib")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
each = pytest.mark.parametrize("file", [read(path) for path in DOCKERFILES], ids=lambda file: file.path.name)


def installs(file: Dockerfile) -> list[str]:
    return [line for line in file.of("RUN") if "pip install" in line]


def test_there_is_an_image_for_each_use() -> None:
    assert [path.suffix for path in DOCKERFILES] == [".export", ".run", ".run-cpu", ".triton"]


@each
def test_its_base_is_pinned(file: Dockerfile) -> None:
    bases = {line.split()[0] for line in file.of("FROM")} | {file.arguments.get("PYTHON", "")} - {""}
    named = {base for base in bases if base != "${PYTHON}"}
    assert named and all(re.search(r":[\d.]+-[\w-]+(@sha256:[0-9a-f]{64})?$", base) for base in named)


@each
def test_it_does_not_run_as_root(file: Dockerfile) -> None:
    """By number: Kubernetes refuses a name where runAsNonRoot is asked for."""
    (user,) = file.of("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    last = [name for name, _ in file.instructions].index("USER")
    assert not {"RUN", "FROM", "COPY"} & {name for name, _ in file.instructions[last:]}


@each
def test_its_health_check_is_a_command_that_is_there(file: Dockerfile) -> None:
    (check,) = file.of("HEALTHCHECK")
    words = json.loads(check.partition("CMD ")[2])
    scripts = set(PROJECT["scripts"])
    commands = [*(json.loads(line)[0] for line in (*file.of("ENTRYPOINT"), *file.of("CMD"))), words[0]]
    assert {name for name in commands if name.startswith("fsr-")} <= scripts
    known = {*BASE_PARTS, *GPU_PARTS, "onnxruntime", *(name for name, _ in INSTALLED.values())}
    assert {part for option, part in pairwise(words) if option == "--need"} <= known


@each
def test_it_installs_known_extras_under_our_constraints_and_keeps_no_cache(file: Dockerfile) -> None:
    ours = [line for line in installs(file) if "'.[" in line]
    assert len(ours) == 1 and "--constraint constraints.txt" in ours[0]
    assert all("--no-cache-dir" in line for line in installs(file))
    (extras,) = re.findall(r"'\.\[(.*?)\]'", ours[0])
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    assert ("export" in extras) == (file.path.suffix == ".export"), "PyTorch is only where networks are exported"
    others = re.findall(r"\s\"?([\w-]+)==(\S+?)\"?(?=\s|$)", " ".join(installs(file)))
    assert {name for name, _ in others} <= {"tensorrt", "cuda-bindings", "onnxruntime-gpu", "torch"}


def test_pytorch_is_the_one_that_we_test_with() -> None:
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M))
    assert f"torch=={pins['torch']}" in " ".join(installs(read(ROOT / "docker" / "Dockerfile.export")))


@each
def test_what_it_copies_is_there_and_not_ignored(file: Dockerfile) -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for sources, _ in file.copied for name in sources}
    assert copied == kept and all((ROOT / name).exists() for name in copied)


def test_what_the_package_is_built_from_is_copied() -> None:
    kept = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in (PROJECT["readme"], *PROJECT["license-files"], "fsr_deploy")} <= set(kept)
    assert kept[1:2] == ["*"]


def test_instructions_are_read_with_their_continued_lines(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("# a\nARG A=b:1\nFROM x AS y\nRUN a \\\n    # c\n    && b\nCOPY d e/\n")
    file = read(tmp_path / "Dockerfile")
    assert file.instructions == (("ARG", "A=b:1"), ("FROM", "x AS y"), ("RUN", "a && b"), ("COPY", "d e/"))
    assert (file.arguments, file.copied) == ({"A": "b:1"}, [(["d"], "e/")])
