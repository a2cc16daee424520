import csv
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import multiprocessing

import fsr_deploy as fsr
from fsr_deploy.bundle.info import read_bundle
from fsr_deploy.datasets.faces import open_faces
from fsr_deploy.errors import ExitCode, InputError, UsageError
from fsr_deploy.images.resize import Face, bicubic, shrink
from fsr_deploy.metrics.lpips import LPIPS
from fsr_deploy.models.checkpoints import load_model, read_metadata
from fsr_deploy.models.tensors import to_tensor
from fsr_deploy.synthetic import write_faces
from fsr_deploy.train.loop import Cadence, DivergedError, Training, TrainSettings, make_fabric
from fsr_deploy.train.recipes import recipe
from fsr_deploy.train.run_folder import RunFolder
from fsr_deploy.train.validation import upscale
from tests.datasets.test_faces import celeba
from tests.networks import register

SMALL = {"channels": 4, "mid": 4}
PIXEL = {"model": "pixel", "options": {}}
spawned = multiprocessing.get_context("spawn")  # a fork after PyTorch has made threads may hang


def settings(**changes) -> TrainSettings:
    values = {"steps": 6, "batch": 2, "augment": "scale,mirror", "schedule": "cosine", "warmup": 2, "lr": 1e-3}
    chosen = recipe(changes.pop("recipe", "aminet"), **{**values, **changes.pop("overrides", {})})
    common = {"model": "aminet", "options": SMALL, "data": "faces:7", "val": "faces:2", "lr_size": 8}
    return TrainSettings(recipe=chosen, **{**common, **changes})


def train(folder: Path, chosen: TrainSettings | None = None, **cadence) -> None:
    every = Cadence(**{"validate_every": 3, "save_every": 1, "log_every": 1, "workers": 0, **cadence})
    chosen = chosen or settings()
    Training(chosen, folder, make_fabric("cpu", chosen.recipe.precision), every).run()


def train_elsewhere(folder: Path, chosen: TrainSettings, **cadence) -> None:
    """Train in a new process, which knows the tests' networks only if it is told."""
    register(pytest.MonkeyPatch())
    train(folder, chosen, **cadence)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder / "last.safetensors")[0].state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def log(folder: Path, column: str, name: str = "log.csv") -> list[float]:
    lines = (folder / name).read_text().splitlines()  # at once: another process may be writing it
    return [float(row[column]) for row in csv.DictReader(lines)]


def kill_after(steps: int, folder: Path, chosen: TrainSettings, **cadence) -> None:
    """Train in another process and kill it, without a chance to clean up, once it has logged so many steps."""
    process = spawned.Process(target=train_elsewhere, args=(folder, chosen), kwargs=cadence)
    process.start()
    alive = True
    while not (folder / "log.csv").exists() or len(log(folder, "step")) < steps:
        assert alive, "the run ended before it had logged so many steps"
        alive = process.is_alive()
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.join()


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    register(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    train(folder)
    return folder


def test_a_run_leaves_weights_that_say_what_they_are(finished):
    network, metadata = load_model(finished / "best.safetensors")
    assert metadata.model == "aminet"
    assert metadata.options == SMALL
    assert metadata.training["recipe"]["lr"] == 1e-3
    assert metadata.training["data"] == "faces:7"
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())


def test_a_run_logs_its_loss_and_validates_next_to_bicubic(finished):
    assert log(finished, "step") == [1, 2, 3, 4, 5, 6]
    assert log(finished, "step", "validation.csv") == [3, 6]
    assert all(value > 15 for value in log(finished, "bicubic_psnr_y", "validation.csv"))
    assert len(list((finished / "samples").glob("*.png"))) == 2


def test_training_lowers_the_loss(tmp_path):
    train(
        tmp_path,
        settings(**PIXEL, data="faces:1", overrides={"steps": 40, "augment": "none", "lr": 1e-2}),
        save_every=40,
    )
    losses = log(tmp_path, "pixel")
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_the_best_weights_are_those_of_the_best_validation(finished):
    scores = dict(zip(log(finished, "step", "validation.csv"), log(finished, "psnr_y", "validation.csv"), strict=True))
    metadata = read_metadata(finished / "best.safetensors")
    assert metadata.training["step"] == max(scores, key=scores.__getitem__)
    assert metadata.training["psnr_y"] == pytest.approx(max(scores.values()), abs=1e-3)


@pytest.mark.parametrize(("adversarial", "steps"), [pytest.param(0.0, 5, marks=pytest.mark.slow), (0.01, 3)])
def test_a_run_killed_at_a_random_step_ends_with_the_weights_of_one_never_killed(tmp_path, adversarial, steps):
    chosen = settings(overrides={"adversarial": adversarial, "steps": steps})
    train(tmp_path / "whole", chosen)
    kill_after(random.randint(1, steps - 1), tmp_path / "killed", chosen)
    train(tmp_path / "killed", chosen)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    for name in ("log.csv", "validation.csv"):
        assert (tmp_path / "whole" / name).read_text() == (tmp_path / "killed" / name).read_text()


def test_a_run_killed_before_its_first_save_begins_again_and_logs_no_step_twice(tmp_path):
    chosen = settings(**PIXEL, overrides={"steps": 60})
    kill_after(2, tmp_path, chosen, save_every=300, validate_every=300)
    train(tmp_path, chosen, save_every=300, validate_every=300)
    assert log(tmp_path, "step") == list(range(1, 61))


@pytest.mark.parametrize("left", ["", "st", "step,lr,pixel\n"])
def test_a_log_that_was_cut_off_before_its_first_row_is_begun_again(tmp_path, left):
    folder = RunFolder(tmp_path)
    for step in (0, 3):
        (tmp_path / "log.csv").write_text(left)
        folder.forget_after(step)
        folder.log("log.csv", {"step": 4, "lr": 0.5})
        assert (tmp_path / "log.csv").read_text() == "step,lr\n4,0.5\n"


def test_continuing_a_finished_run_changes_nothing(finished):
    before = (finished / "last.safetensors").read_bytes()
    train(finished)
    assert (finished / "last.safetensors").read_bytes() == before


def test_a_folder_that_holds_another_run_is_left_alone(finished):
    with pytest.raises(UsageError, match=r"holds a run with seed 0, not 1; name another folder with -o"):
        train(finished, settings(seed=1))


def test_data_that_changed_since_the_run_began_is_noticed(tmp_path):
    chosen = settings(**PIXEL, data=str(tmp_path / "data"), val="faces:1", overrides={"steps": 1})
    write_faces(tmp_path / "data" / "train", 3)
    train(tmp_path / "run", chosen)
    (tmp_path / "data" / "train" / "face_00000.png").unlink()
    with pytest.raises(UsageError, match="holds a run with training_faces 3, not 2"):
        train(tmp_path / "run", chosen)


def test_a_damaged_state_is_named(tmp_path):
    train(tmp_path, settings(**PIXEL, overrides={"steps": 1}))
    (tmp_path / "state.pt").write_bytes(b"PK but no more")
    with pytest.raises(InputError, match=r"state\.pt: cut off or not the state of a run"):
        train(tmp_path, settings(**PIXEL, overrides={"steps": 1}))


def test_a_loss_that_is_no_longer_a_number_stops_the_run_and_keeps_what_was_good(tmp_path):
    chosen = settings(**PIXEL, overrides={"lr": 1e30, "warmup": 0, "schedule": "constant"})
    with pytest.raises(DivergedError, match=r"after step \d; .*last\.safetensors is from before that") as raised:
        train(tmp_path, chosen)
    assert raised.value.exit_code == ExitCode.PARTIAL
    assert all(torch.isfinite(tensor).all() for tensor in weights(tmp_path).values())


def test_a_run_that_breaks_before_anything_was_saved_says_so(tmp_path):
    chosen = settings(**PIXEL, overrides={"lr": 1e30, "warmup": 0, "schedule": "constant"})
    with pytest.raises(DivergedError, match="nothing had been saved yet"):
        train(tmp_path, chosen, save_every=100, validate_every=100)


def as_process(rank: int, port: int, folder: Path, chosen: TrainSettings) -> None:
    """Train as one of two processes, with the environment that torchrun gives them."""
    places = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    os.environ.update({name: str(value) for name, value in {**places, **meeting}.items()})
    train_elsewhere(folder, chosen)


@pytest.mark.parametrize(("adversarial", "steps"), [(0.0, 4), pytest.param(0.01, 2, marks=pytest.mark.slow)])
def test_two_processes_learn_what_one_learns_from_the_same_global_batch(tmp_path, adversarial, steps):
    chosen = settings(overrides={"batch": 4, "steps": steps, "adversarial": adversarial})
    train(tmp_path / "one", chosen)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [spawned.Process(target=as_process, args=(rank, port, tmp_path / "two", chosen)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert log(tmp_path / "two", "pixel") == pytest.approx(log(tmp_path / "one", "pixel"), rel=1e-3)
    assert log(tmp_path / "two", "psnr_y", "validation.csv") == pytest.approx(
        log(tmp_path / "one", "psnr_y", "validation.csv"), abs=0.05
    )


def test_a_batch_that_the_processes_cannot_share_is_a_usage_error(tmp_path, monkeypatch):
    fabric = make_fabric("cpu", "fp32")
    monkeypatch.setattr(type(fabric), "world_size", 4)
    with pytest.raises(UsageError, match="a batch of 2 cannot be shared by 4 processes"):
        Training(settings(), tmp_path, fabric)


def test_an_adversarial_run_keeps_both_losses_finite(tmp_path):
    train(tmp_path, settings(recipe="amigan", overrides={"perceptual": 0.0, "steps": 4}))
    for term in ("pixel", "discriminator", "adversarial"):
        assert all(0 < value < 10 for value in log(tmp_path, term))


def lpips_of_random_features() -> Callable[[list[Face], list[Face]], float]:
    """Return a perceptual distance: LPIPS with AlexNet's shape, its weights random."""
    torch.manual_seed(0)
    network = LPIPS().eval()
    for weight in network.linear:
        weight.data.fill_(1.0)

    def measure(sr: list[Face], hr: list[Face]) -> float:
        a, b = (torch.stack([to_tensor(face) for face in side]) for side in (sr, hr))
        with torch.inference_mode():
            return network(a, b).mean().item()

    return measure


class Watched(Training):
    """A run that measures a perceptual distance of faces it never sees, at its start and at each validation."""

    def watch(self) -> list[float]:
        faces = [open_faces("faces:6", "test", 64).read(index) for index in range(6)]
        self.lr, self.faces, self.measure = shrink(faces, 8), faces, lpips_of_random_features()
        self.distances = [self._distance()]
        self.run()
        return self.distances

    def _distance(self) -> float:
        return self.measure(upscale(self.generator.module, self.lr, 64, torch.device("cpu")), self.faces)

    def _validate(self) -> None:
        super()._validate()
        self.distances.append(self._distance())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_adversarial_run_of_hundreds_of_steps_stays_finite_and_moves_towards_real_faces(tmp_path):
    chosen = settings(recipe="amigan", data="faces:200", overrides={"perceptual": 0.0, "steps": 300})
    every = Cadence(validate_every=100, save_every=100, log_every=1, workers=0)
    run = Watched(chosen, tmp_path, make_fabric("cpu", "fp32"), every)
    start, *_, end = run.watch()
    for term in ("pixel", "discriminator", "adversarial"):
        assert all(0 < value < 10 for value in log(tmp_path, term))
    assert end < 0.5 * start
    assert end < run.measure(bicubic(run.lr, 64), run.faces)


def test_mixed_precision_trains_and_keeps_its_weights_in_full(tmp_path):
    train(tmp_path, settings(overrides={"precision": "bf16", "steps": 2}))
    assert all(0 < value < 2 for value in log(tmp_path, "pixel"))
    assert not any(tensor.dtype == torch.bfloat16 for tensor in weights(tmp_path).values())


def test_a_perceptual_loss_without_weights_says_which_file_it_wants(tmp_path):
    with pytest.raises(UsageError, match=r"vgg19-dcbb9e9d\.pth .*or train without it: --perceptual 0"):
        train(tmp_path, settings(recipe="amigan"))


def test_a_broken_picture_met_by_a_loading_process_is_named_in_one_line(tmp_path):
    path = write_faces(tmp_path / "data", 1)[0]
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError) as raised:
        train(tmp_path / "run", settings(**PIXEL, data=str(tmp_path / "data"), val="faces:1"), workers=1)
    assert str(raised.value).startswith(f"{path}: truncated")
    assert "\n" not in str(raised.value)


def test_where_landmarks_are_in_the_training_faces_goes_into_checkpoint_and_bundle(tmp_path, monkeypatch):
    register(monkeypatch)
    celeba(tmp_path / "data")
    marks = "70 110 107 112 88 138 72 151 107 155"
    text = "".join(f"{number:06}.png {marks}\n" for number in range(4))
    (tmp_path / "data" / "list_landmarks_align_celeba.txt").write_text(text)
    chosen = settings(**PIXEL, data=str(tmp_path / "data"), overrides={"steps": 1})
    train(tmp_path / "run", chosen)
    template = read_metadata(tmp_path / "run" / "last.safetensors").template
    assert np.array(template) * 178 + (0, 20) == pytest.approx(np.array(marks.split(), float).reshape(5, 2), abs=1e-3)
    bundle = fsr.export(tmp_path / "run" / "last.safetensors", batches=1, output=tmp_path / "bundle", force=True)
    assert read_bundle(bundle.path).info.template == template
    with fsr.load(bundle, "cpu") as upscaler:
        assert upscaler.info.template == template
