"""What docker/ builds and starts, as far as that can be done without Docker: linted, validated, installed, started."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.containers.dockerfiles import DOCKERFILES, ROOT, Dockerfile, read

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

MANIFESTS = sorted((ROOT / "docker" / "kubernetes").glob("*.yaml"))
KUBERNETES = ("1.31", "1.34", "1.37")
each = pytest.mark.parametrize("file", [read(path) for path in DOCKERFILES], ids=lambda file: file.path.name)
# TensorRT's wheels are on NVIDIA's own index, PyTorch's without CUDA on its own: neither can be reached from here.
STAND_INS = ("tensorrt",)
OTHER_INDEX = re.compile(r"--index-url \S+")


@each
def test_hadolint_finds_nothing(file: Dockerfile) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, file.path], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def documents(path: Path) -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("release", KUBERNETES)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_manifests_are_valid_by_the_schemas_of_kubernetes(path: Path, release: str) -> None:
    kubernetes = pytest.importorskip("kubernetes_validate")
    for document in documents(path):
        kubernetes.validate(document, release, strict=True)


def test_the_schemas_find_a_slip() -> None:
    kubernetes = pytest.importorskip("kubernetes_validate")
    deployment = next(one for one in documents(ROOT / "docker/kubernetes/triton.yaml") if one["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes.ValidationError, match="readynessProbe"):
        kubernetes.validate(deployment, KUBERNETES[0], strict=True)


def test_the_parts_of_the_deployment_fit_each_other() -> None:
    claim, deployment, service = documents(ROOT / "docker" / "kubernetes" / "triton.yaml")
    (fill,) = documents(ROOT / "docker" / "kubernetes" / "fill.yaml")
    template = deployment["spec"]["template"]
    assert (
        deployment["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"] == service["spec"]["selector"]
    )
    pods = (template["spec"], fill["spec"])
    for pod in pods:
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {mount["name"] for mount in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
        claims = [one["persistentVolumeClaim"] for one in pod["volumes"] if "persistentVolumeClaim" in one]
        assert [one["claimName"] for one in claims] == [claim["metadata"]["name"]]
    (triton,) = template["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in triton["ports"]}
    assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == ports
    probes = {name: triton[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {probe["port"] for probe in probes.values()} == {"http"}
    assert [probes[name]["path"].rpartition("/")[2] for name in probes] == ["ready", "ready", "live"]
    assert triton["resources"]["limits"]["nvidia.com/gpu"] == "1"


def translated(line: str, file: Dockerfile, home: Path) -> str:
    """Return a RUN line for this machine: its folder, the defaults of its arguments, this machine's package index."""
    for name, value in file.arguments.items():
        line = line.replace(f"${{{name}}}", value)
    return OTHER_INDEX.sub("", line).replace("/opt/fsr", str(home)).replace("python3 -m pip", f"{home}/bin/pip")


def provide(home: Path, file: Dockerfile) -> None:
    """Put a package of the name and version that cannot be had here where pip finds it, with nothing in it."""
    (packages,) = home.glob("lib/python*/site-packages")
    for name in STAND_INS:
        version = file.arguments["TENSORRT"]
        info = packages / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@each
def test_its_run_lines_install_a_package_that_works(file: Dockerfile, tmp_path: Path) -> None:
    home, source = tmp_path / "fsr", tmp_path / "src"
    source.mkdir()
    file.copy_into(source)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    environment["PIP_NO_COMPILE"] = "1"  # takes longer than all the rest
    gpu = "TENSORRT" in file.arguments
    if file.path.suffix == ".triton":  # whose base has Python, and is no virtual environment
        venv.create(home, with_pip=True)
    ran = 0
    for line in file.of("RUN"):
        if line.startswith("useradd"):
            continue
        if gpu and home.exists():
            provide(home, file)
        command = ["sh", "-euc", translated(line, file, home)]
        done = subprocess.run(command, check=False, cwd=source, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        ran += 1
    assert ran == len(file.of("RUN")) - len([line for line in file.of("RUN") if line.startswith("useradd")]) > 0
    shutil.rmtree(source)  # the image has no sources
    environment["PATH"] = f"{home / 'bin'}{os.pathsep}{environment['PATH']}"

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)

    has_torch = run(
        "python", "-c", "import importlib.util as u; print(u.find_spec('torch') is not None)"
    ).stdout.strip()
    assert has_torch == str(file.path.suffix == ".export")
    for entry in file.of("ENTRYPOINT"):
        shown = run(*json.loads(entry), *json.loads(file.of("CMD")[-1]))
        assert shown.returncode == 0 and "Usage: fsr-" in shown.stdout, shown.stderr
    check = json.loads(file.of("HEALTHCHECK")[0].partition("CMD ")[2])
    if check[0] == "fsr-doctor":
        health = run(*check)
        # Without a GPU and the stand-in's library, the image for GPUs is not healthy, and says so.
        assert health.returncode == (3 if gpu else 0), health.stderr
        assert ("GPU: no" in health.stderr) == gpu
