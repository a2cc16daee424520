"""A bundle's bill of materials, read with CycloneDX's own schema."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from fsr_deploy.bundle.bill import write_sbom
from fsr_deploy.bundle.info import read_bundle, sha256, write_info
from fsr_deploy.errors import InputError
from tests.fakes.plans import plan_info, write_bundle

MADE_WITH = {"fsr-deploy": "0.1.0", "python": "3.1.4", "system": "Linux", "numpy": version("numpy"), "torch": "1.0"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    directory = tmp_path / "tiny-fp32"
    info = write_bundle(directory)
    parity: list[dict[str, Any]] = [
        {"engine": "ONNX Runtime 1.32.0", "batch": 1, "psnr_db": 61.25},
        {"engine": "ONNX Runtime 1.32.0", "batch": 4, "psnr_db": None},
    ]
    rebuilt = {"rebuild: tensorrt": "10.16.1.11", "rebuild: numpy": version("numpy")}
    (directory / "engine.plan").write_bytes(b"a plan")
    facts = {"checkpoint_sha256": "ab" * 32, "parity": parity, "versions": {**MADE_WITH, **rebuilt}}
    write_info(directory, replace(info, plan=plan_info(), **facts))
    return directory


def bill(bundle: Path) -> Any:
    text = write_sbom(bundle).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    return json.loads(text)


def components(bill: Any, kind: str) -> dict[str, Any]:
    return {one["name"]: one for one in bill["components"] if one["type"] == kind}


def licence(component: Any) -> Any:
    return [entry.get("expression") or entry["license"] for entry in component.get("licenses", [])]


def test_it_holds_every_file_with_its_hash(bundle: Path) -> None:
    files = components(bill(bundle), "file")
    names = {path.name for path in bundle.iterdir()} - {"sbom.cdx.json"}
    assert {name: one["hashes"][0]["content"] for name, one in files.items()} == {
        name: sha256(bundle / name) for name in names
    }
    assert "bundle.json" in names and "engine.plan" in names


def test_it_holds_the_network_and_the_hash_of_its_weights(bundle: Path) -> None:
    found = bill(bundle)
    assert list(components(found, "machine-learning-model")) == ["tiny"]
    assert components(found, "data")["weights of tiny"]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    about = found["metadata"]["component"]
    assert (about["name"], about["description"]) == ("tiny-fp32", "tiny in FP32: faces to 8 times their size")
    facts = {one["name"].removeprefix("fsr-deploy:"): one["value"] for one in about["properties"]}
    assert facts["parity: ONNX Runtime 1.32.0, batch 1"] == "61.25 dB"
    assert facts["parity: ONNX Runtime 1.32.0, batch 4"] == "equal"
    needs = {one["ref"]: one.get("dependsOn", []) for one in found["dependencies"]}
    assert needs["network"] == ["weights"] and "file:engine.plan" in needs["bundle"]


def test_without_weights_it_names_none(bundle: Path) -> None:
    write_info(bundle, replace(read_bundle(bundle).info, checkpoint_sha256=None, trained=False))
    assert components(bill(bundle), "data") == {}


def test_it_holds_the_libraries_that_made_the_graph_and_the_plan(bundle: Path) -> None:
    libraries = components(bill(bundle), "library")
    made = {name: (one["version"], one["properties"][0]["value"], one["scope"]) for name, one in libraries.items()}
    assert made == {
        "fsr-deploy": ("0.1.0", "graph", "excluded"),
        "numpy": (version("numpy"), "graph, plan", "excluded"),
        "torch": ("1.0", "graph", "excluded"),
        "tensorrt": ("10.16.1.11", "plan", "excluded"),
    }
    assert libraries["torch"]["purl"] == "pkg:pypi/torch@1.0"


def test_a_licence_is_given_where_the_very_version_is_installed(bundle: Path) -> None:
    found = bill(bundle)
    libraries = components(found, "library")
    assert licence(libraries["fsr-deploy"]) == [{"id": "Apache-2.0"}]
    assert "BSD-3-Clause" in str(licence(libraries["numpy"]))
    assert licence(libraries["torch"]) == [], "another version is installed here"
    assert licence(components(found, "platform")["python"]) == [], "another Python runs here"


def test_a_licence_without_a_short_name_is_its_classifier(bundle: Path) -> None:
    made = {"onnxscript": version("onnxscript")}  # whose field holds the whole text
    write_info(bundle, replace(read_bundle(bundle).info, versions=made))
    assert licence(components(bill(bundle), "library")["onnxscript"]) == [{"name": "MIT License"}]


def test_a_number_belongs_to_a_bundle(bundle: Path) -> None:
    first = bill(bundle)["serialNumber"]
    assert bill(bundle)["serialNumber"] == first
    (bundle / "sbom.cdx.json").unlink()
    write_info(bundle, replace(read_bundle(bundle).info, notes=("another",)))
    assert bill(bundle)["serialNumber"] != first


def test_a_damaged_bundle_gets_none(bundle: Path) -> None:
    (bundle / "engine.plan").write_bytes(b"another plan")
    with pytest.raises(InputError, match=r"engine\.plan: its SHA-256 is not the one in bundle\.json"):
        write_sbom(bundle)
    assert not (bundle / "sbom.cdx.json").exists()
