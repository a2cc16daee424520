"""What an engine is held against: the faces, and the network fed as it was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fsr_deploy.bundle.info import BundleInfo, TensorInfo
from fsr_deploy.bundle.reference import read_truth
from fsr_deploy.errors import InputError
from fsr_deploy.exporting.proof.latency import MAX_TURNS, SpeedUp, measure, slower_note
from fsr_deploy.exporting.proof.reference import lr_faces, make_reference, true_faces
from fsr_deploy.images.codec import write_frame
from fsr_deploy.images.levels import as_faces
from fsr_deploy.models.eager import Eager
from fsr_deploy.synthetic import faces
from tests.networks import Pixel, weights


@pytest.fixture
def network() -> Pixel:
    pixel = Pixel()
    pixel.load_state_dict(weights())
    return pixel


def test_drawn_faces_are_reduced_by_pil_and_always_the_same() -> None:
    lr = lr_faces(None, 3, 8, 8)
    assert lr.shape == (3, 8, 8, 3) and lr.dtype == np.uint8
    assert np.array_equal(lr, lr_faces(None, 3, 8, 8))
    assert not np.array_equal(lr[0], lr[1])


def test_faces_of_a_folder_are_cut_square_and_resized(tmp_path: Path) -> None:
    (face,) = faces(1, size=64)
    wide = np.pad(face, ((0, 0), (10, 10), (0, 0)))
    write_frame(tmp_path / "a.png", wide)
    write_frame(tmp_path / "b.png", lr_faces(None, 1, 8, 8)[0])
    lr = lr_faces(tmp_path, 9, 8, 8)
    assert np.array_equal(lr[0], np.asarray(Image.fromarray(face).resize((8, 8), Image.Resampling.BICUBIC)))
    assert np.array_equal(lr[1], lr_faces(None, 1, 8, 8)[0])  # of the right size: as it is
    assert len(lr) == 2


def test_an_unreadable_face_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"broken\.png"):
        lr_faces(tmp_path, 1, 8, 8)


def test_eager_is_pils_bicubic_then_the_network_then_rounding(network: Pixel) -> None:
    lr = lr_faces(None, 2, 4, 8)
    x = np.stack([np.asarray(Image.fromarray(face).resize((32, 32), Image.Resampling.BICUBIC)) for face in lr])
    with torch.no_grad():
        y = network(torch.from_numpy(x).permute(0, 3, 1, 2).float() / 127.5 - 1)
    expected = ((y + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(Eager(network, 8).run(lr), expected)


def test_a_network_for_one_face_at_a_time_gets_them_so() -> None:
    class Alone(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x[:, :2], torch.zeros(1, 1, *x.shape[2:])], 1)

    lr = lr_faces(None, 3, 4, 1)
    sr = Eager(Alone(), 1).run(lr)
    assert np.array_equal(sr[..., :2], lr[..., :2])
    with pytest.raises(RuntimeError):
        Eager(nn.ReflectionPad2d(9), 1).run(lr)


def test_float_input_goes_through_the_bare_network(network: Pixel) -> None:
    done: list[int] = []
    reference = make_reference(Eager(network, 8), lr_faces(None, 3, 4, 8), "float", done.append)
    assert reference.inputs.dtype == np.float32 and reference.inputs.shape == (3, 3, 32, 32)
    assert np.abs(reference.inputs).max() <= 1
    with torch.no_grad():
        assert np.array_equal(reference.outputs, network(torch.from_numpy(reference.inputs)).numpy())
    assert sum(done) == 3
    assert as_faces(reference.outputs).shape == (3, 32, 32, 3)


def test_the_carried_faces_are_at_most_eight_under_the_graphs_names(network: Pixel, tmp_path: Path) -> None:
    reference = make_reference(Eager(network, 8), lr_faces(None, 10, 4, 8), "uint8", lambda count: None)
    reference.save(tmp_path, "lr", "sr")
    with np.load(tmp_path / "reference.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["lr", "sr"]
        assert np.array_equal(arrays["lr"], reference.inputs[:8]) and np.array_equal(
            arrays["sr"], reference.outputs[:8]
        )


def test_the_truth_is_carried_where_it_is_known(network: Pixel, tmp_path: Path) -> None:
    truth = true_faces(10, 32)
    lr = lr_faces(None, 10, 4, 8)
    assert np.array_equal(lr[3], np.asarray(Image.fromarray(truth[3]).resize((4, 4), Image.Resampling.BICUBIC)))
    make_reference(Eager(network, 8), lr, "uint8", lambda count: None, truth).save(tmp_path, "lr", "sr")
    tensors = [(TensorInfo(name, "uint8", ("N", side, side, 3)),) for name, side in (("lr", 4), ("sr", 32))]
    info = BundleInfo("pixel", "fp32", 8, 4, (1, 4, 8), *tensors, trained=True)
    read = read_truth(tmp_path / "reference.npz", info)
    assert read is not None and np.array_equal(read, truth[:8])
    make_reference(Eager(network, 8), lr, "uint8", lambda count: None).save(tmp_path, "lr", "sr")
    assert read_truth(tmp_path / "reference.npz", info) is None


def test_engine_and_eager_take_turns_on_the_same_batches() -> None:
    calls: list[tuple[str, int]] = []
    rows = measure(
        lambda batch: calls.append(("engine", len(batch))) or batch,
        lambda batch: calls.append(("eager", len(batch))) or batch,
        np.zeros((2, 1)),
        (3, 1, 3),
    )
    assert [row.batch for row in rows] == [1, 3]
    turns = 1 + MAX_TURNS  # the first is not counted
    assert calls == [("engine", 1), ("eager", 1)] * turns + [("engine", 3), ("eager", 3)] * turns


def test_one_turn_on_a_busy_machine_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10, 20, 10, 900, 12, 30, *[10, 20] * 6])
    monkeypatch.setattr("fsr_deploy.exporting.proof.latency.milliseconds", lambda run, batch: next(times))
    (timing,) = measure(lambda batch: batch, lambda batch: batch, np.zeros((1, 1)), [1])
    assert (timing.engine_ms, timing.eager_ms, timing.speedup) == (10, 20, 2)
    assert (timing.slowest, timing.fastest, timing.turns) == (2, 90, 9)
    assert str(timing) == "batch 1: engine 10.0 ms, eager 20.0 ms, 2.00x (2.00 to 90.00 in 9 turns)"


@pytest.mark.parametrize(
    ("precision", "device", "note"),
    [
        (
            "fp32",
            "cpu",
            "slower than eager here (0.50x at batch 1); use the engine only where it is faster",
        ),
        ("fp16", "cuda:0", "slower than eager here (0.50x at batch 1); "),
        ("fp16", "cpu", "slower than eager FP32 here, as expected (0.50x at batch 1): fp16 pays on a GPU, "),
    ],
)
def test_an_engine_slower_than_eager_is_said(precision: str, device: str, note: str) -> None:
    slow, fast = SpeedUp(1, 2, 1, 0.5, 0.4, 0.6, 9), SpeedUp(8, 1, 2, 2.0, 1.9, 2.1, 9)
    assert (slower_note([slow, fast], precision, device) or "").startswith(note)
    assert slower_note([fast], precision, device) is None


@pytest.mark.parametrize(
    ("speedup", "turns", "won", "slower"),
    [
        (0.999, 9, 0, False),  # a thousandth, however sure
        (0.97, 9, 0, True),
        (0.97, 9, 1, True),  # one turn of nine was disturbed
        (0.97, 9, 2, False),  # as two in nine are by chance
        (0.97, 3, 0, True),
        (0.97, 3, 1, False),
        (1.3, 9, 9, False),
    ],
)
def test_an_engine_is_called_slower_only_where_its_turns_tell(
    speedup: float, turns: int, won: int, slower: bool
) -> None:
    timing = SpeedUp(1, 10.0, 10.0 * speedup, speedup, 0.9 * speedup, 1.1 * speedup, turns, won)
    assert timing.slower == slower
    assert (slower_note([timing], "fp32", "cpu") is not None) == slower
