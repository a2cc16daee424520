"""The picture and the page that a person sees: complete, self-contained, and safe to open."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fsr_deploy.bundle.info import BundleInfo
from fsr_deploy.exporting.report.drawing import ReportFaces, draw
from fsr_deploy.exporting.report.page import report_page
from fsr_deploy.images.codec import encode_frame, read_frame
from fsr_deploy.images.face_table import GAP, HEADER, MARGIN, amplified_difference, parity_picture
from fsr_deploy.models.tensors import to_faces
from tests.bundle.test_info import INFO as PLAIN

ROW = {"engine": "ONNX Runtime", "batch": 8, "max_error": 1.0, "mean_error": 0.0288, "ssim": 0.99998, "finite": True}
INFO = replace(
    PLAIN,
    parity=[{**ROW, "psnr_db": 62.561, "share_off": 0.00125}, {**ROW, "psnr_db": None, "share_off": 0.0}],
    budget={"min_psnr_db": 50.0, "max_levels": None},
    latency={
        "engine": "ONNX Runtime",
        "eager": "PyTorch",
        "rows": [{"batch": 8, "engine_ms": 20.0, "eager_ms": 50.0, "speedup": 2.5, "slowest": 2.25, "fastest": 2.75}],
        "note": None,
    },
    versions={"torch": "2.13.0"},
    notes=(),
)
DAMAGE = {"module": "body.0", "kind": "LGFI", "psnr_db": 41.32, "finite": True, "share": 0.1251}
KEPT = {"precision": "fp32", "reason": "overflows"}
PICTURE = encode_frame(np.zeros((4, 4, 3), np.uint8), ".png")


class Page(HTMLParser):
    """A page's text, and everything that it refers to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.references, self.tags = "", [], []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_says_what_was_exported_how_close_and_how_fast() -> None:
    text = Page(report_page(INFO, "aminet-tiny-fp16", PICTURE)).text
    for figure in (
        "aminet-tiny fp16",
        "within budget",
        "62.56",
        "equal",
        "0.99998",
        "0.125 %",
        "at least 50 dB",
        "2.50x",
    ):
        assert figure in text
    assert "400 faces/s" in text and "2.25 to 2.75" in text  # 8 faces in 20 ms
    assert "fsr-run aminet-tiny-fp16 frames/ -o upscaled/" in text
    assert "lr: uint8 [N, 16, 16, 3], RGB" in text and "TensorRT 11.1 for H200 (9.0)" in text
    assert "first convolution" in text and "2.13.0" in text


def test_the_page_refers_to_nothing_but_itself() -> None:
    page = report_page(INFO, "bundle", PICTURE)
    (reference,) = Page(page).references
    assert base64.b64decode(reference.removeprefix("data:image/png;base64,")) == PICTURE
    assert "script" not in Page(page).tags and not re.search(r"url\(|@import|https?:", page)


def test_what_others_wrote_is_text_and_never_markup() -> None:
    evil = '<script>alert("1")</script>'
    info = replace(
        INFO,
        model=evil,
        options={"a": evil},
        notes=(evil,),
        versions={evil: evil},
        precision_map={evil: {"precision": "fp32", "reason": evil}},
        parity=[{**INFO.parity[0], "engine": evil}],
    )
    page = Page(report_page(info, evil, PICTURE))
    assert "script" not in page.tags
    assert page.text.count(evil) >= 8


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"trained": False}, "Untrained weights: the faces mean nothing."),
        ({"parity_passed": False}, "over budget, published by force"),
        ({"notes": ("over its parity budget",)}, "Over its parity budget"),
        ({"latency": {**INFO.latency, "note": "slower than eager here"}}, "Slower than eager here"),
        ({"latency": {}}, "Not measured."),
        ({"budget": {"min_psnr_db": None, "max_levels": 1.0}}, "no value more than 1 of 255 levels off"),
        ({"io": "float"}, "(N, 3, 128, 128) float32 RGB in [-1, 1]"),
        ({"checkpoint_sha256": "ab" * 32}, "SHA-256 " + "ab" * 32),
        (
            {"budget": {"min_psnr_db": 40.0, "max_loss_db": 0.1}},
            "at least 40 dB in the worst face and at most 0.1 dB lost",
        ),
        ({"parity": [{**INFO.parity[0], "loss_db": 0.0421}]}, "+0.042"),
        ({"analysis": [DAMAGE]}, "body.0 (LGFI)41.3 dB12.5 %"),
        (
            {"analysis": [{**DAMAGE, "share": None, "finite": False, "module": ""}]},
            "(the network itself) (LGFI)NaN or Inf",
        ),
        (
            {"precision_map": {"": KEPT, "body": {**KEPT, "precision": "fp16"}}},
            "A module inside another one has a precision",
        ),
        ({"precision_map": {}}, "Every module computes in fp16."),
        ({"parity": [{**INFO.parity[0], "finite": False}]}, "NaN or Inf"),
        ({"parity": [{**INFO.parity[0], "engine": "x, rounded to fp16"}]}, "the rounded rows have them all"),
        ({"worst_case": [{**INFO.parity[0], "psnr_db": 47.113}]}, "47.11"),
        ({"worst_case": [INFO.parity[0]]}, "TensorRT may round the sums inside an operation too."),
        (
            {"worst_case": [{**INFO.parity[0], "engine": "FP16 sums"}]},
            "The row of FP16 sums has such sums everywhere; no budget holds for it.",
        ),
    ],
)
def test_what_a_reader_must_not_miss_is_on_the_page(change: dict, sentence: str) -> None:
    before = Page(report_page(replace(INFO, trained=True), "bundle", PICTURE)).text
    after = Page(report_page(BundleInfo(**{**vars(INFO), **change}), "bundle", PICTURE)).text
    assert sentence not in before and sentence in after


def test_modules_kept_for_one_reason_share_a_row() -> None:
    kept = {"precision": "fp32", "reason": "sums overflow"}
    text = Page(report_page(replace(INFO, precision_map={"a.norm": kept, "b.norm": kept}), "bundle", PICTURE)).text
    assert text.count("sums overflow") == 1 and "a.norm, b.norm" in text


def test_the_difference_is_twenty_times_the_error_and_does_not_wrap() -> None:
    eager = np.array([[[[10, 10, 200]]]], np.uint8)
    engine = np.array([[[[11, 8, 100]]]], np.uint8)
    assert amplified_difference(engine, eager).ravel().tolist() == [20, 40, 255]


def test_where_only_floats_are_known_the_picture_has_no_column_for_the_lr_faces(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(-1.2, 1.2, (5, 3, 32, 32)).astype(np.float32)
    shown = ReportFaces(x, x + 0.1, None)
    faces = shown.by(lambda batch: batch + 0.1, at_once=3)
    draw(tmp_path, "bare", replace(INFO, io="float"), "an engine", shown, faces)
    picture = read_frame(tmp_path / "parity.png")
    assert picture.shape[1] == 2 * MARGIN + 4 * 224 + 3 * GAP
    expected = to_faces(torch.from_numpy(x[:4] + np.float32(0.1))).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(faces, expected)
    assert "The bare network" in (tmp_path / "report.html").read_text()


def test_times_from_before_the_plan_are_said_to_be_so() -> None:
    before = Page(report_page(replace(INFO, plan=None), "bundle", PICTURE)).text
    after = Page(report_page(INFO, "bundle", PICTURE)).text
    assert "The plan has not been timed" in after and "The plan has not been timed" not in before
    latency = {**INFO.latency, "engine": "TensorRT 11.1 (H200)", "machine": "EPYC, 2 cores"}
    timed = Page(report_page(replace(INFO, latency=latency), "bundle", PICTURE)).text
    assert "on EPYC, 2 cores" in timed and "The plan has not been timed" not in timed


@pytest.mark.parametrize(
    ("target", "advice"),
    [("tensorrt", "fsr-export --rebuild bundle"), ("onnxruntime", "export the network again with --target tensorrt")],
)
def test_the_page_says_how_a_plan_comes_of_this_graph(target: str, advice: str) -> None:
    assert advice in Page(report_page(replace(INFO, graph_target=target), "bundle", PICTURE)).text


@pytest.mark.parametrize("hr", [32, 128, 256])
def test_the_picture_has_a_row_for_each_face_and_five_columns_in_order(hr: int) -> None:
    shades = [20, 60, 100, 140]
    batches = [np.full((6, hr, hr, 3), shade, np.uint8) for shade in shades]
    batches[0] = batches[0][:, : hr // 8, : hr // 8]
    picture = parity_picture(*batches, "footer")
    cell = (picture.shape[1] - 2 * MARGIN - 4 * GAP) // 5
    assert cell % hr == 0 and cell >= 224
    centres = [MARGIN + column * (cell + GAP) + cell // 2 for column in range(5)]
    for row in range(4):  # of six faces, four are shown
        y = HEADER + row * (cell + GAP) + cell // 2
        assert [int(picture[y, x, 0]) for x in centres] == [*shades, 255]
    assert picture.shape[0] == 2 * HEADER + 4 * cell + 3 * GAP
    for strip in (picture[:HEADER], picture[-HEADER:]):
        assert cv2.cvtColor(strip, cv2.COLOR_RGB2GRAY).min() < 160  # something is written there
