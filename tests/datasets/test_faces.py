from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from fsr_deploy.datasets.faces import StepSampler, TrainingPairs, open_faces
from fsr_deploy.datasets.layouts import find_faces
from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.synthetic import write_faces


def picture(path: Path, width: int = 64, height: int = 64) -> Path:
    """Write a picture whose red rises to the right and whose green rises downwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:height, 0:width]
    Image.fromarray(np.stack((x % 256, y % 256, 0 * x), -1).astype(np.uint8)).save(path)
    return path


def celeba(root: Path) -> None:
    for number in range(4):
        picture(root / "img_align_celeba" / f"{number:06d}.png", 178, 218)
    (root / "list_eval_partition.txt").write_text("000000.png 0\n000001.png 0\n000002.png 1\n000003.png 2\n")


def celeba_of_kaggle(root: Path) -> None:
    celeba(root)
    (root / "img_align_celeba").rename(root / "inner")
    (root / "img_align_celeba").mkdir()
    (root / "inner").rename(root / "img_align_celeba" / "img_align_celeba")
    lines = (root / "list_eval_partition.txt").read_text().replace(" ", ",")
    (root / "list_eval_partition.txt").unlink()
    (root / "list_eval_partition.csv").write_text("image_id,partition\n" + lines)


def widerface(root: Path) -> None:
    for part in ("train", "val"):
        path = picture(root / f"WIDER_{part}" / "images" / "0--Parade" / "a.jpg", 300, 200)
        listing = root / "wider_face_split" / f"wider_face_{part}_bbx_gt.txt"
        listing.parent.mkdir(exist_ok=True)
        listing.write_text(f"0--Parade/{path.name}\n1\n100 50 80 100 0 0 0 0 0 0\n")


def helen(root: Path) -> None:
    for part in ("trainset", "testset"):
        path = picture(root / "helen" / part / "1.jpg", 300, 200)
        path.with_suffix(".pts").write_text("version: 1\nn_points: 2\n{\n100.0 50.0\n200.0 150.0\n}\n")


def helen_with_annotations(root: Path) -> None:
    for part in ("train", "test"):
        picture(root / part / f"{part}_1.jpg", 300, 200)
        (root / "annotation").mkdir(exist_ok=True)
        (root / "annotation" / f"{part}.txt").write_text(f"{part}_1\n100.0 , 50.0\n200.0 , 150.0\n")


def scface(root: Path) -> None:
    picture(root / "mugshot_frontal_cropped_all" / "001_frontal.jpg", 80, 100)
    picture(root / "surveillance_cameras_distance_1" / "cam_1" / "001_cam1_1.jpg", 20, 30)


def lfw(root: Path) -> None:
    for person in ("Ada_Lovelace", "Alan_Turing"):
        picture(root / "lfw" / person / f"{person}_0001.jpg", 250, 250)


def webface(root: Path) -> None:
    for person in ("0000045", "0000099"):
        picture(root / person / "001.jpg", 250, 250)


@pytest.mark.parametrize(
    ("build", "layout", "train", "test"),
    [
        (celeba, "celeba", 2, 1),
        (celeba_of_kaggle, "celeba", 2, 1),
        (widerface, "widerface", 1, 1),
        (helen, "helen", 1, 1),
        (helen_with_annotations, "helen", 1, 1),
        (scface, "scface", 1, 1),
        (lfw, "people", 2, 2),
        (webface, "people", 2, 2),
    ],
)
def test_each_data_set_is_recognised_as_it_is_unpacked(tmp_path, build, layout, train, test):
    build(tmp_path)
    assert find_faces(tmp_path, "train")[0] == layout
    for split, count in (("train", train), ("test", test)):
        source = open_faces(str(tmp_path), split, size=64)
        assert len(source) == count
        assert source.read(0).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("build", "centre", "side"),
    [(celeba, (89, 109), 178), (widerface, (140, 100), 110), (helen, (150, 100), 130), (lfw, (125, 125), 150)],
)
def test_the_face_is_cut_out_where_the_data_set_has_it(tmp_path, build, centre, side):
    build(tmp_path)
    face = open_faces(str(tmp_path), "train", size=64).read(0).astype(float)
    assert face[..., :2].mean((0, 1)) == pytest.approx(centre, abs=2)
    assert face[32, -8, 0] - face[32, 8, 0] == pytest.approx(side * 48 / 64, abs=3)


MARKS = ("69 109 106 113 77 142 73 152 108 154", "71 111 108 111 99 134 71 150 106 156")


@pytest.mark.parametrize("suffix", [".txt", ".csv"])
def test_the_landmarks_of_celebas_training_faces_have_their_mean_in_the_faces(tmp_path, suffix):
    celeba(tmp_path)
    rows = [f"00000{number}.png  {marks}" for number, marks in enumerate((*MARKS, "1 2 3 4 5 6 7 8 9 10"))]
    header = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    text = "\n".join(("3", header, *rows) if suffix == ".txt" else (f"image_id {header}", *rows)) + "\n"
    text = text if suffix == ".txt" else text.replace("  ", " ").replace(" ", ",")
    (tmp_path / f"list_landmarks_align_celeba{suffix}").write_text(text)
    # The middle 178x178 of 178x218 begins at (0, 20); the third row is not of a training face.
    means = [(70, 110), (107, 112), (88, 138), (72, 151), (107, 155)]
    expected = [(x / 178, (y - 20) / 178) for x, y in means]
    for size in (64, 128):
        assert np.array(open_faces(str(tmp_path), "train", size).template) == pytest.approx(
            np.array(expected), abs=1e-6
        )
    (first,) = [open_faces(str(tmp_path), "train", 64, limit=1).template]
    assert first[0] == pytest.approx((69 / 178, 89 / 178), abs=1e-6)


@pytest.mark.parametrize("build", [celeba, widerface, lfw])
def test_without_landmarks_nothing_is_known_of_them(tmp_path, build):
    build(tmp_path)
    assert open_faces(str(tmp_path), "train", 64).template is None
    assert open_faces("faces:2", "train", 64).template is None


def test_a_plain_folder_holds_back_some_faces_that_training_never_sees(tmp_path):
    write_faces(tmp_path, 60)
    names = {split: {file.path.name for file in find_faces(tmp_path, split)[1]} for split in ("train", "val", "test")}
    assert not names["train"] & names["val"]
    assert names["train"] | names["val"] == names["test"]
    assert 1 <= len(names["val"]) <= 10


def test_sub_folders_named_after_splits_are_the_splits(tmp_path):
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        write_faces(tmp_path / split, count)
        assert len(open_faces(str(tmp_path), split)) == count


def test_the_splits_of_drawn_faces_share_no_face():
    faces = [open_faces("faces:2", split, size=32).read(i) for split in ("train", "val", "test") for i in range(2)]
    assert len({face.tobytes() for face in faces}) == 6


def empty(root: Path) -> None:
    (root / "notes.txt").write_text("no pictures")


def tiny(root: Path) -> None:
    write_faces(root, 3, lr_size=16)


def unreadable(root: Path) -> None:
    write_faces(root, 3)
    (root / "broken.png").write_bytes(b"not a picture")


def partition_without_pictures(root: Path) -> None:
    (root / "list_eval_partition.txt").write_text("000001.jpg 0\n")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (empty, r"no faces for 'train' \(folder layout\)"),
        (tiny, r"all 3 faces are smaller than 64x64; HR faces of 128x128 are needed"),
        (unreadable, r"broken\.png: cannot be read as a picture \(1 of 4 files here\)"),
        (partition_without_pictures, r"unpack img_align_celeba\.zip beside it"),
        (lambda root: root.rmdir(), r"no such folder; name a folder of faces, or faces:COUNT"),
    ],
)
def test_a_data_set_that_cannot_be_used_is_refused_by_name(tmp_path, build, message):
    root = tmp_path / "data"
    root.mkdir()
    build(root)
    with pytest.raises(InputError, match=message) as raised:
        open_faces(str(root), "train")
    assert str(root) in str(raised.value)


def test_a_picture_cut_off_after_its_header_is_named_when_it_is_read(tmp_path):
    path = write_faces(tmp_path, 1)[0]
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"face_00000\.png: truncated"):
        open_faces(str(tmp_path), "test").read(0)


def test_small_faces_among_large_ones_are_left_out_with_a_warning(tmp_path, capsys):
    write_faces(tmp_path / "a", 3)
    write_faces(tmp_path / "b", 2, lr_size=32)
    assert len(open_faces(str(tmp_path), "test")) == 3
    assert "2 of 5 faces left out, smaller than 64x64" in capsys.readouterr().err


@pytest.mark.parametrize("spec", ["faces:0", "faces:", "faces:many", "faces:-3"])
def test_a_count_that_is_none_is_a_usage_error(spec):
    with pytest.raises(UsageError, match="write faces:COUNT"):
        open_faces(spec, "train")


def test_a_folder_too_small_to_hold_a_face_back_asks_for_others(tmp_path):
    (face,) = write_faces(tmp_path, 1)
    assert open_faces(str(tmp_path), "train").name.startswith("1 faces"), f"{face.name} is not held back"
    with pytest.raises(InputError, match=r"no faces for 'val' .*; --val names other faces to validate on"):
        open_faces(str(tmp_path), "val")


@pytest.mark.parametrize("spec", ["faces:4", "."])
def test_a_layout_that_does_not_exist_is_a_usage_error(spec):
    with pytest.raises(UsageError, match="no layout is called 'celebra'; there are auto, celeba, "):
        open_faces(spec, "train", layout="celebra")


def test_a_layout_that_does_not_fit_says_what_it_needs(tmp_path):
    write_faces(tmp_path, 1)
    with pytest.raises(InputError, match=r"not laid out like celeba; it needs: CelebA, aligned: img_align_celeba"):
        open_faces(str(tmp_path), "train", layout="celeba")


def test_a_grey_or_turned_picture_becomes_an_upright_rgb_face(tmp_path):
    grey = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    Image.fromarray(grey).save(tmp_path / "a.png", exif=exif)
    face = open_faces(str(tmp_path), "test", size=64).read(0)
    assert np.array_equal(face[..., 0], np.rot90(grey, -1))
    assert np.array_equal(face[..., 0], face[..., 2])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_count_stored_pixels_whatever_exif_says(tmp_path, suffix: str, orientation: int):
    """A 400x200 picture of a red face that a landmark file finds where the pixels are stored."""
    pixels = np.zeros((200, 400, 3), np.uint8)
    pixels[20:160, 240:380] = 255, 0, 0
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "trainset" / f"a{suffix}"
    path.parent.mkdir()
    Image.fromarray(pixels).save(path, exif=exif)
    path.with_suffix(".pts").write_text("{\n256 36\n364 144\n}\n")  # grown by 1.3, 140x140 at (240, 20)
    face = open_faces(str(tmp_path), "train", size=128).read(0)
    inner = face[16:-16, 16:-16] if suffix == ".jpg" else face  # JPEG blurs its edge
    np.testing.assert_allclose(inner, np.broadcast_to((255, 0, 0), inner.shape), atol=12)


def test_a_face_is_large_enough_by_the_pixels_that_are_read(tmp_path, capsys):
    """Turned on its side, the box would lie half outside of the picture."""
    widerface(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in tmp_path.rglob("*.jpg"):
        Image.new("RGB", (300, 60)).save(path, exif=exif)
    for listing in (tmp_path / "wider_face_split").iterdir():
        listing.write_text("0--Parade/a.jpg\n1\n220 0 60 60 0 0 0 0 0 0\n")
    assert open_faces(str(tmp_path), "train", size=120).read(0).shape == (120, 120, 3)


def test_a_training_pair_is_the_face_and_its_bicubic_ghost():
    x, hr = TrainingPairs(open_faces("faces:1", "train"), lr_size=16)[0, 0]
    assert x.shape == hr.shape == (3, 128, 128)
    assert x.dtype == hr.dtype == torch.float32
    assert hr.min() >= -1
    assert hr.max() <= 1
    face = np.asarray(Image.fromarray(open_faces("faces:1", "train").read(0)))
    lr = Image.fromarray(face).resize((16, 16), Image.Resampling.BICUBIC)
    ghost = np.asarray(lr.resize((128, 128), Image.Resampling.BICUBIC))
    assert np.array_equal(((x.permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8), ghost)


def test_augmentation_depends_on_seed_epoch_and_index_alone():
    source = open_faces("faces:2", "train", size=32)

    def pair(seed: int, epoch: int) -> torch.Tensor:
        return TrainingPairs(source, 4, ("scale", "mirror", "rotate"), seed)[epoch, 1][1]

    assert torch.equal(pair(0, 0), pair(0, 0))
    assert not torch.equal(pair(0, 0), pair(0, 1))
    assert not torch.equal(pair(0, 0), pair(1, 0))


@pytest.mark.parametrize("augment", ["mirror", "rotate"])
def test_mirrors_and_rotations_only_move_pixels(augment):
    source = open_faces("faces:1", "train", size=32)
    drawn = [TrainingPairs(source, 4, (augment,))[epoch, 0][1] for epoch in range(12)]
    plain = TrainingPairs(source, 4)[0, 0][1]
    assert any(not torch.equal(face, plain) for face in drawn)
    assert all(torch.equal(face.flatten().sort().values, plain.flatten().sort().values) for face in drawn)


def test_an_unknown_augmentation_is_a_usage_error():
    with pytest.raises(UsageError, match="no augmentation is called 'blur'"):
        TrainingPairs(open_faces("faces:1", "train"), 16, ("blur",))


def keys(start: int = 0, rank: int = 0, world: int = 1) -> list[list[tuple[int, int]]]:
    return list(StepSampler(count=10, batch=4, start=start, stop=6, seed=3, rank=rank, world=world))


def test_every_epoch_visits_every_face_once_in_another_order():
    flat = [key for batch in keys() for key in batch]
    epochs = [[index for epoch, index in flat if epoch == number] for number in (0, 1)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(10))] * 2
    assert epochs[0] != epochs[1]


def test_a_resumed_order_is_the_rest_of_the_whole_one():
    assert keys(start=3) == keys()[3:]


def test_two_processes_share_out_what_one_would_see():
    shared = [sorted(a + b) for a, b in zip(keys(rank=0, world=2), keys(rank=1, world=2), strict=True)]
    assert shared == [sorted(batch) for batch in keys()]


def test_opencv_and_the_training_data_agree_on_what_a_picture_holds(tmp_path):
    path = write_faces(tmp_path, 1)[0]
    face = open_faces(str(tmp_path), "test").read(0)
    assert np.array_equal(face, cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
