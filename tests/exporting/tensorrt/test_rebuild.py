"""fsr-export --rebuild: the plan of an existing bundle, proven and put in place, or nothing changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from fsr_deploy import __version__
from fsr_deploy.bundle.info import (
    ONNX_NAME,
    PICTURE_NAME,
    PLAN_NAME,
    REFERENCE_NAME,
    REPORT_NAME,
    read_bundle,
    write_info,
)
from fsr_deploy.errors import InputError, MissingError, ParityError
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.rebuild import rebuild_plan
from fsr_deploy.images.codec import read_frame
from fsr_deploy.images.face_table import parity_picture
from fsr_deploy.images.resize import resize
from fsr_deploy.runtime.open import open_session
from tests.contract.table import RELEASES
from tests.engines import repeat_pixels
from tests.fakes.machine import MachineFactory
from tests.fakes.plans import describe, lr_faces, write_bundle


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("release", RELEASES)
def test_a_bundle_gets_a_plan_that_runs_and_is_proven_at_every_batch_size_of_its_profiles(
    machine: MachineFactory, tmp_path: Path, release: str
) -> None:
    machine(release)
    directory = tmp_path / "bundle"
    write_bundle(directory)
    before = contents(directory)
    rebuild_plan(directory, PlanOptions(profiles=((1, 1, 1), (2, 8, 16))))
    info = read_bundle(directory).info
    assert info.plan is not None and info.plan.tensorrt.startswith(release)
    assert [row["batch"] for row in info.parity] == [1, 2, 8, 16]
    assert all(row["engine"].startswith("TensorRT") and row["psnr_db"] is None for row in info.parity)
    assert info.parity_passed
    after = contents(directory)
    assert all(after[name] == content for name, content in before.items() if name != "bundle.json")
    session = open_session(directory, "cuda")
    assert session.in_flight == 2, "both lanes have to share a profile"
    assert np.array_equal(session.upscale(lr_faces(9)), repeat_pixels(lr_faces(9)))


def test_a_second_rebuild_replaces_plan_and_figures(machine: MachineFactory, tmp_path: Path) -> None:
    directory = tmp_path / "bundle"
    write_bundle(directory)
    kept = {"engine": "ONNX Runtime 1.32.0 (CPUExecutionProvider)", "batch": 1, "psnr_db": 60.0}
    write_info(directory, replace(read_bundle(directory).info, parity=[kept]))
    machine("10.16")
    rebuild_plan(directory, PlanOptions())
    machine("11.4")
    rebuild_plan(directory, PlanOptions(profiles=((1, 2, 2),)))
    info = read_bundle(directory).info
    assert info.plan is not None and info.plan.tensorrt == "11.4.0.106"
    assert [(row["engine"].split()[0], row["batch"]) for row in info.parity] == [
        ("ONNX", 1),
        ("TensorRT", 1),
        ("TensorRT", 2),
    ]


def test_a_rebuild_keeps_the_profiles_of_the_plan_that_it_replaces(machine: MachineFactory, tmp_path: Path) -> None:
    directory = tmp_path / "bundle"
    write_bundle(directory)
    machine("10.16")
    rebuild_plan(directory, PlanOptions(profiles=((1, 1, 1), (2, 8, 16))))
    machine("11.4")
    rebuild_plan(directory, PlanOptions())
    plan = read_bundle(directory).info.plan
    assert plan is not None and plan.profiles == ((1, 1, 1), (2, 8, 16))


def write_wrong_reference(directory: Path, error: int) -> None:
    faces = lr_faces(8)
    wrong = np.clip(repeat_pixels(faces).astype(int) + error, 0, 255).astype(np.uint8)
    np.savez_compressed(directory / REFERENCE_NAME, lr=faces, sr=wrong)
    write_info(directory, read_bundle(directory).info)


def test_a_plan_over_its_budget_is_not_published(machine: MachineFactory, tmp_path: Path) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    write_wrong_reference(directory, error=2)
    before = contents(directory)
    with pytest.raises(ParityError, match=r"off by up to 2.00 levels"):
        rebuild_plan(directory, PlanOptions())
    assert contents(directory) == before


def test_a_plan_over_its_budget_is_published_by_force_and_marked(machine: MachineFactory, tmp_path: Path) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    write_wrong_reference(directory, error=2)
    rebuild_plan(directory, PlanOptions(), force=True)
    info = read_bundle(directory).info
    assert not info.parity_passed and any("published by force" in note for note in info.notes)


def forget_the_wrong_reference(directory: Path) -> None:
    write_wrong_reference(directory, error=0)


def test_the_verdict_and_the_notes_are_those_of_the_plan_that_is_there(machine: MachineFactory, tmp_path: Path) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    write_wrong_reference(directory, error=2)
    for _ in range(2):
        rebuild_plan(directory, PlanOptions(), force=True)
        info = read_bundle(directory).info
        assert not info.parity_passed
        assert len(info.notes) == len(set(info.notes)) == len(info.parity) == 4
        assert "over budget, published by force" in (directory / REPORT_NAME).read_text()
    forget_the_wrong_reference(directory)
    rebuild_plan(directory, PlanOptions())
    info = read_bundle(directory).info
    assert info.parity_passed and info.notes == ()
    assert "within budget" in (directory / REPORT_NAME).read_text()


def test_a_graph_over_its_budget_stays_so_under_a_plan_that_keeps_it(machine: MachineFactory, tmp_path: Path) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    row = {"engine": "ONNX Runtime 1.32.0", "batch": 1, "max_error": 3.0, "psnr_db": 45.0, "finite": True}
    write_info(directory, replace(read_bundle(directory).info, parity=[row], notes=("an earlier sentence",)))
    rebuild_plan(directory, PlanOptions())
    info = read_bundle(directory).info
    assert not info.parity_passed
    assert info.notes == (
        "over its parity budget, published by force: ONNX Runtime 1.32.0, batch 1: off by up to 3.00 levels, "
        "the budget is at most 1",
    )


def test_page_and_picture_are_drawn_of_the_new_plan(machine: MachineFactory, tmp_path: Path) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    (directory / REPORT_NAME).write_text("an old page")
    (directory / PICTURE_NAME).write_bytes(b"an old picture")
    write_wrong_reference(directory, error=1)
    rebuild_plan(directory, PlanOptions())
    page = (directory / REPORT_NAME).read_text()
    assert "TensorRT 10.16.1.11 for NVIDIA H100 (9.0)" in page and "an old page" not in page
    with np.load(directory / REFERENCE_NAME) as arrays:
        lr, eager = arrays["lr"], arrays["sr"]
    bicubic = np.stack([resize(face, (32, 32)) for face in lr])
    footer = f"tiny fp32 on {read_bundle(directory).info.parity[0]['engine']}"
    expected = parity_picture(lr, bicubic, eager, repeat_pixels(lr), footer)
    assert np.array_equal(read_frame(directory / PICTURE_NAME), expected)


ROWS = [{"batch": 8, "engine_ms": 20.0, "eager_ms": 50.0, "speedup": 2.5, "slowest": 2.25, "fastest": 2.75}]


@pytest.mark.parametrize("timed", ["ONNX Runtime 1.32.0 (CPUExecutionProvider)", "TensorRT 8.6.1 (NVIDIA T4)", None])
def test_only_times_that_are_still_true_are_kept_and_with_their_machine(
    machine: MachineFactory, tmp_path: Path, timed: str | None
) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    latency = {"engine": timed, "eager": "PyTorch", "machine": "EPYC, 2 cores", "rows": ROWS, "note": "slower here"}
    write_info(directory, replace(read_bundle(directory).info, latency=latency if timed else {}))
    rebuild_plan(directory, PlanOptions())
    info, page = read_bundle(directory).info, (directory / REPORT_NAME).read_text()
    assert "The plan has not been timed: fsr-profile does that." in page and "lower here" not in page
    if timed and timed.startswith("ONNX"):
        assert info.latency == {**latency, "note": None}
        assert f"{timed} against PyTorch on EPYC, 2 cores" in page
    else:
        assert info.latency == {} and "Not measured." in page and "NVIDIA T4" not in page


def test_the_versions_of_the_last_rebuild_stand_beside_those_of_the_export(
    machine: MachineFactory, tmp_path: Path
) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    exported = {"fsr-deploy": "0.0.1", "torch": "2.7.0"}
    write_info(directory, replace(read_bundle(directory).info, versions={**exported, "rebuild: gone": "1.0"}))
    rebuild_plan(directory, PlanOptions())
    found = read_bundle(directory).info.versions
    assert found.items() >= exported.items()
    assert (
        found["rebuild: fsr-deploy"] == __version__ and "rebuild: torch" not in found and "rebuild: gone" not in found
    )


RECORDS: dict[str, tuple[dict[str, Any], str]] = {
    "a figure of a newer budget": (
        {"budget": {"min_psnr_db": 40.0, "max_lpips": 0.1}},
        "its budget has max_lpips, which this fsr-deploy cannot hold a plan to; upgrade fsr-deploy, or export",
    ),
    "a figure that is text": ({"budget": {"min_psnr_db": "40"}}, "budget.min_psnr_db is str instead of float"),
    "a row of text": ({"parity": [{"engine": "a", "psnr_db": "high"}]}, "parity[0].psnr_db is str instead of float"),
    "times without an engine": ({"latency": {"rows": ROWS}}, "incomplete or damaged: KeyError('engine')"),
    "times that are none": (
        {"latency": {"engine": "a", "eager": "b", "rows": [{}]}},
        "incomplete or damaged: KeyError",
    ),
    "precisions of nothing": ({"precisions": [{}]}, "incomplete or damaged: KeyError('precision')"),
}


@pytest.mark.parametrize(("change", "message"), RECORDS.values(), ids=RECORDS.keys())
def test_a_record_that_no_verdict_or_page_can_be_made_of_is_refused_before_the_build(
    machine: MachineFactory, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    gpu = machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    record = json.loads((directory / "bundle.json").read_text())
    (directory / "bundle.json").write_text(json.dumps({**record, **change}))
    before = contents(directory)
    with pytest.raises(InputError) as caught:
        rebuild_plan(directory, PlanOptions())
    assert "bundle.json: " in str(caught.value) and message in str(caught.value)
    assert contents(directory) == before and not gpu.tensorrt.builds


def test_a_graph_that_was_written_for_onnx_runtime_is_built_with_a_word_on_what_is_better(
    machine: MachineFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory, "int8")
    write_info(directory, replace(read_bundle(directory).info, graph_target="onnxruntime"))
    for _ in range(2):
        rebuild_plan(directory, PlanOptions())
        said = capsys.readouterr().err
        command = (
            f"fsr-export tiny --checkpoint CHECKPOINT --int8 --lr-size 4 --batch 1,4,8 --target tensorrt -o {directory}"
        )
        assert f"export it again with --target tensorrt: {command}\n" in said
        info = read_bundle(directory).info
        assert info.plan is not None and info.parity_passed
        assert [note for note in info.notes if "not written for TensorRT" in note] == list(info.notes)
        assert len(info.notes) == 1
    assert "its graph was written for" not in (said.split("building the plan")[1])


def known_bad(machine: MachineFactory, directory: Path, precision: str = "fp16") -> Any:
    """Return a machine with TensorRT 11.2, and a bundle of a precision."""
    gpu = machine("11.4")
    gpu.tensorrt.__version__ = "11.2.1.2"
    write_bundle(directory, precision)
    return gpu


def test_a_plan_of_a_tensorrt_that_is_known_to_compute_wrongly_says_so(
    machine: MachineFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known_bad(machine, tmp_path / "bundle")
    rebuild_plan(tmp_path / "bundle", PlanOptions())
    assert "warning: TensorRT 11.2.1.2 has a known fault: " in capsys.readouterr().err
    info = read_bundle(tmp_path / "bundle").info
    assert info.parity_passed and [row["batch"] for row in info.parity] == [1, 2, 4, 8]
    (note,) = info.notes
    assert note.startswith("TensorRT 11.2.1.2 has a known fault, this plan was proven all the same: ")
    assert note.endswith("(NVIDIA/TensorRT#4854)")
    machine("11.4")
    rebuild_plan(tmp_path / "bundle", PlanOptions())
    assert read_bundle(tmp_path / "bundle").info.notes == ()


def test_a_known_fault_never_replaces_the_proof(machine: MachineFactory, tmp_path: Path) -> None:
    known_bad(machine, tmp_path / "bundle")
    write_wrong_reference(tmp_path / "bundle", error=9)
    with pytest.raises(ParityError) as caught:
        rebuild_plan(tmp_path / "bundle", PlanOptions())
    assert "batch 8: " in str(caught.value) and "(NVIDIA/TensorRT#4854)" in str(caught.value)


def test_a_build_that_fails_names_the_fault_that_is_known(machine: MachineFactory, tmp_path: Path) -> None:
    gpu = known_bad(machine, tmp_path / "bundle", "bf16")
    gpu.cuda.failures["build"] = 2
    with pytest.raises(
        MissingError, match=r"TensorRT 11.2.1.2 built no plan: .*BF16 is built \(NVIDIA/TensorRT#4829\)"
    ):
        rebuild_plan(tmp_path / "bundle", PlanOptions())


def test_a_plan_is_held_to_the_truth_that_the_bundle_carries(machine: MachineFactory, tmp_path: Path) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    faces = lr_faces(8)
    truth = repeat_pixels(faces)
    eager = np.clip(truth.astype(int) + np.random.default_rng(0).integers(-1, 2, truth.shape), 0, 255).astype(np.uint8)
    write_info(directory, replace(read_bundle(directory).info, precision="int8", budget={"min_psnr_db": 40.0}))
    for known, lost in ((eager, True), (truth, False)):  # the plan gives `truth`: it loses where that is another face
        np.savez_compressed(directory / REFERENCE_NAME, lr=faces, sr=eager, truth=known)
        write_info(directory, read_bundle(directory).info)
        before = contents(directory)
        if lost:
            with pytest.raises(
                ParityError, match=r"batch \d+: .* dB lost against the truth, the budget is at most 0\.1 dB"
            ):
                rebuild_plan(directory, PlanOptions())
            assert contents(directory) == before
        else:
            rebuild_plan(directory, PlanOptions())
            assert read_bundle(directory).info.parity[-1]["loss_db"] < 0


def test_the_plan_is_judged_by_the_budget_of_the_bundle(machine: MachineFactory, tmp_path: Path) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    write_wrong_reference(directory, error=2)
    write_info(directory, replace(read_bundle(directory).info, budget={"max_levels": 3.0}))
    rebuild_plan(directory, PlanOptions())
    assert read_bundle(directory).info.parity_passed


def test_a_bundle_whose_graph_was_changed_is_refused_untouched(machine: MachineFactory, tmp_path: Path) -> None:
    gpu = machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    (directory / ONNX_NAME).write_bytes((directory / ONNX_NAME).read_bytes() + b"\0")
    before = contents(directory)
    with pytest.raises(InputError, match=r"model.onnx: its SHA-256 is not the one in bundle.json"):
        rebuild_plan(directory, PlanOptions())
    assert contents(directory) == before and not gpu.tensorrt.builds


def test_a_graph_that_refers_to_another_file_is_named_and_not_built(machine: MachineFactory, tmp_path: Path) -> None:
    gpu = machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    model = onnx.load(directory / ONNX_NAME)
    weights = model.graph.initializer.add(name="weights", data_type=onnx.TensorProto.FLOAT, dims=[1])
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="/etc/hostname")
    (directory / ONNX_NAME).write_bytes(model.SerializeToString())
    write_info(directory, read_bundle(directory).info)
    with pytest.raises(InputError, match=rf"^{directory / ONNX_NAME}: keeps weights in other files"):
        rebuild_plan(directory, PlanOptions())
    assert not gpu.tensorrt.builds


@pytest.mark.parametrize(
    "content",
    [b"", b"not a zip file", b"PK\x03\x04 cut off"],
    ids=["empty", "text", "cut off"],
)
def test_reference_faces_that_cannot_be_read_are_named(machine: MachineFactory, tmp_path: Path, content: bytes) -> None:
    gpu = machine("10.16")
    directory = tmp_path / "bundle"
    write_bundle(directory)
    (directory / REFERENCE_NAME).write_bytes(content)
    write_info(directory, read_bundle(directory).info)
    with pytest.raises(InputError, match=r"reference.npz: not the reference faces of this bundle"):
        rebuild_plan(directory, PlanOptions())
    assert PLAN_NAME not in contents(directory) and not gpu.tensorrt.builds, "known before minutes are spent"


def test_the_description_of_the_test_bundles_is_a_valid_one(tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle")
    assert replace(read_bundle(tmp_path / "bundle").info, files={}) == describe()
