import pytest

from fsr_deploy.runtime.folder.sizes import SizeCount


def count(*shapes: tuple[int, int], fit: str = "crop", resizable: bool | None = True) -> SizeCount:
    sizes = SizeCount((16, 16), fit, resizable)
    for shape in shapes:
        sizes.add(shape)
    return sizes


def test_nothing_is_told_of_frames_of_the_right_size():
    sizes = count((16, 16), (16, 16))
    assert sizes.lines() == sizes.warnings() == []


@pytest.mark.parametrize(
    ("fit", "counts"),
    [
        ("crop", "2 of the engine's size, 1 enlarged, 2 reduced, 1 cropped"),
        ("stretch", "1 of the engine's size, 1 enlarged, 3 reduced, 1 stretched"),
    ],
)
def test_what_was_done_is_told_in_one_line_with_counts(fit: str, counts: str):
    sizes = count((16, 16), (20, 20), (8, 8), (22, 22), (16, 17), fit=fit)
    assert sizes.lines() == [f"frames resized to the engine's 16x16: {counts}"]


@pytest.mark.parametrize(
    ("largest", "resizable", "advice"),
    [
        (40, True, "an engine exported with --lr-size 40 would keep it"),
        (512, True, "an engine exported with --lr-size 512 would keep it"),
        (513, True, "crop the faces first: the largest has 513 pixels a side, an engine takes up to 512"),
        (40, False, "crop the faces first, or train this network for larger ones (fsr-train --lr-size)"),
        (40, None, "crop the faces first, or take an engine for larger ones"),
    ],
)
def test_lost_detail_is_told_with_advice_that_fsr_export_takes(largest: int, resizable: bool | None, advice: str):
    sizes = count((24, 24), (25, 25), (largest, largest), resizable=resizable)
    assert sizes.warnings() == [f"detail was lost in 2 of the frames, larger than 1.5 times 16x16; {advice}"]


def test_detail_is_judged_by_what_a_crop_keeps():
    assert not any("detail" in warning for warning in count((16, 400)).warnings())
    assert any("--lr-size 400" in warning for warning in count((16, 400), fit="stretch").warnings())


@pytest.mark.parametrize(
    ("fit", "what"),
    [
        ("crop", "cropped, because their proportions are not the engine's: only their middle was kept"),
        ("stretch", "stretched, because their proportions are not the engine's: faces look too wide or too narrow"),
    ],
)
def test_frames_of_far_other_proportions_are_told(fit: str, what: str):
    assert count((16, 16), (16, 17), (16, 20), fit=fit).warnings() == [
        f"1 of the frames were {what}; crop the faces first"
    ]


def test_an_engine_that_is_not_square_keeps_height_and_width_apart():
    sizes = SizeCount((24, 16))
    sizes.add((48, 32))
    assert sizes.lines() == ["frames resized to the engine's 16x24: 1 reduced"]


@pytest.mark.parametrize(
    ("shape", "fit", "advice"),
    [
        ((96, 64), "crop", "an engine exported with --lr-size 96,64 would keep it"),
        ((100, 64), "stretch", "an engine exported with --lr-size 100,64 would keep it"),
        ((768, 512), "crop", "crop the faces first: the largest has 512x768 pixels, an engine takes up to 512 a side"),
    ],
)
def test_lost_detail_of_an_engine_that_is_not_square_is_told_with_height_and_width(
    shape: tuple[int, int], fit: str, advice: str
):
    sizes = SizeCount((24, 16), fit, resizable=True)
    sizes.add(shape)
    assert sizes.warnings()[0] == f"detail was lost in 1 of the frames, larger than 1.5 times 16x24; {advice}"
