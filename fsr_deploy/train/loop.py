"""Training: one loop for all recipes, on one or several processes, which continues exactly where it was stopped."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader

from fsr_deploy._util.log import progress, say
from fsr_deploy.datasets.faces import StepSampler, TrainingPairs, open_faces
from fsr_deploy.datasets.layouts import refuse_unknown_layout
from fsr_deploy.errors import InputError, MissingError, UsageError, refuse_outside
from fsr_deploy.images.resize import bicubic, shrink
from fsr_deploy.models import registry
from fsr_deploy.models.checkpoints import Metadata, load_into, save_safetensors
from fsr_deploy.models.value_range import RANGE
from fsr_deploy.train.learner import DivergedError, Learner
from fsr_deploy.train.objective import Objective
from fsr_deploy.train.recipes import PRECISIONS, Recipe
from fsr_deploy.train.run_folder import BEST, LAST, RunFolder
from fsr_deploy.train.sync_norm import synchronise
from fsr_deploy.train.validation import Score, sample_grid, score, upscale
from fsr_deploy.train.vgg import WANTED, VGG19Features, load_vgg19

MIN_LR_SIZE = 8  # side of LR faces, below which networks that shrink them have nothing left
SAMPLES = 6  # faces in the picture that each validation writes


@dataclass(frozen=True)
class TrainSettings:
    """Everything that determines the resulting weights; written to ``run.json``.

    ``data`` and ``val`` are what open_faces takes; ``start`` is a checkpoint to begin from, ``key`` its entry to take,
    ``vgg`` a file with VGG19's weights. Raises UsageError for values that do not exist or contradict each other.
    """

    model: str
    recipe: Recipe
    data: str
    val: str
    options: Mapping[str, Any] = field(default_factory=dict)
    layout: str = "auto"
    limit: int | None = None
    val_limit: int | None = None
    lr_size: int = 16
    seed: int = 0
    start: str | None = None
    key: str | None = None
    vgg: str | None = None

    def __post_init__(self) -> None:
        refuse_unknown_layout(self.layout)
        refuse_outside("--lr-size", self.lr_size, MIN_LR_SIZE)
        refuse_outside("--seed", self.seed, 0)
        for option, count in (("--limit", self.limit), ("--val-limit", self.val_limit)):
            if count is not None:
                refuse_outside(option, count, 1)
        if self.key is not None and self.start is None:
            raise UsageError("--key names an entry of a checkpoint; give --checkpoint too")
        if (values := registry.find(self.model).range) != RANGE:
            raise UsageError(f"{self.model} takes values from {values[0]} to {values[1]}; only -1 to 1 is trained here")


@dataclass(frozen=True)
class Cadence:
    """What happens between steps and decides nothing: how often, in steps, and with how many loading processes.

    Raises UsageError for figures that cannot be.
    """

    validate_every: int = 1000
    save_every: int = 200
    log_every: int = 20
    workers: int = 1

    def __post_init__(self) -> None:
        refuse_outside("--validate-every", self.validate_every, 1)
        refuse_outside("--save-every", self.save_every, 1)
        refuse_outside("--log-every", self.log_every, 1)
        refuse_outside("--workers", self.workers, 0)


@dataclass(frozen=True)
class Result:
    """The result of a run on its held-out faces."""

    steps: int
    last: Score
    best_psnr: float
    bicubic: Score


def make_fabric(device: str, precision: str) -> Fabric:
    """Return Fabric on "auto", "cpu" or "cuda", over all processes where torchrun started several.

    Raises UsageError for another device, MissingError where there is no GPU and "cuda" or fp16 asks for one.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"no device is called {device!r}; there are auto, cpu and cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingError("no GPU that this PyTorch can use; train with --device cpu")
    if precision == "fp16" and (device == "cpu" or not torch.cuda.is_available()):
        raise MissingError("fp16 trains on a GPU only; take --precision bf16 or fp32")
    world, local = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    fabric = Fabric(
        accelerator=device,
        devices=local,
        num_nodes=world // local,
        strategy="ddp" if world > 1 else "auto",
        precision=PRECISIONS[precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    # Depthwise gradients have another memory order than DDP's buckets, which costs only microseconds.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    return fabric


class Training:
    """A run: built from its settings and, if its folder holds a saved state, continued from there."""

    def __init__(self, settings: TrainSettings, folder: Path, fabric: Fabric, cadence: Cadence | None = None) -> None:
        self.settings, self.recipe, self.fabric = settings, settings.recipe, fabric
        self.cadence = cadence or Cadence()
        if self.recipe.batch % fabric.world_size:
            raise UsageError(f"a batch of {self.recipe.batch} cannot be shared by {fabric.world_size} processes")
        vgg = _vgg(settings)
        size = settings.lr_size * registry.find(settings.model).scale
        self.source = open_faces(settings.data, "train", size, settings.layout, settings.limit)
        augment = [name for name in self.recipe.augment.split(",") if name and name != "none"]
        self.pairs = TrainingPairs(self.source, settings.lr_size, augment, settings.seed)
        held_out = open_faces(settings.val, "val", size, settings.layout, settings.val_limit)
        self.held_out = [held_out.read(index) for index in range(len(held_out))]
        self.held_out_lr = shrink(self.held_out, settings.lr_size)
        self.bicubic = score(bicubic(self.held_out_lr, size), self.held_out)
        self.last, self.best_psnr, self.step = self.bicubic, -math.inf, 0
        self.generator, self.objective = self._build(vgg)
        self.folder = RunFolder(folder)
        decides = json.loads(json.dumps({**asdict(settings), "training_faces": len(self.source)}))
        if state := self.folder.begin(decides, write=fabric.is_global_zero):
            self._load(state)
        if fabric.is_global_zero:
            self.folder.forget_after(self.step)
        self._say(f"training {settings.model} on {self.source.name}, validating on {held_out.name}")

    def run(self) -> Result:
        """Train to the recipe's last step; raises DivergedError where the loss is no longer finite."""
        if self.step:
            self._say(f"continuing after step {self.step}")
        try:
            with self._progress() as advance:
                for x, hr in self._batches():
                    terms = self._learn(x, hr)
                    self.step += 1
                    advance(1)
                    self._look_after(terms)
        except DivergedError as error:
            path = self.folder.path / LAST
            kept = f"{path} is from before that" if path.exists() else "nothing had been saved yet"
            raise DivergedError(
                f"{error} after step {self.step}; {kept}; lower --lr or set --clip, and train into another folder"
            ) from error
        except KeyboardInterrupt:
            self._say(f"stopped after step {self.step}; the same command continues from {self.folder.path}")
            raise
        return Result(self.step, self.last, self.best_psnr, self.bicubic)

    def _build(self, vgg: VGG19Features | None) -> tuple[Learner, Objective]:
        torch.manual_seed(self.settings.seed)
        network = registry.build(self.settings.model, **self.settings.options)
        if self.settings.start:
            load_into(network, Path(self.settings.start), self.settings.model, self.settings.key, self._say)
        if self.fabric.world_size > 1:
            synchronise(network)
        generator = Learner("generator", network, self.recipe.lr, self.recipe, self.fabric)
        return generator, Objective(self.recipe, vgg, self.fabric)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        rank, world = self.fabric.global_rank, self.fabric.world_size
        sampler = StepSampler(
            len(self.source), self.recipe.batch, self.step, self.recipe.steps, self.settings.seed, rank, world
        )
        pinned = self.fabric.device.type == "cuda"
        loader = DataLoader(self.pairs, batch_sampler=sampler, num_workers=self.cadence.workers, pin_memory=pinned)
        try:
            for x, hr in loader:
                yield self.fabric.to_device(x), self.fabric.to_device(hr)
        except InputError as error:  # a loading process puts its traceback before the message
            raise InputError(
                str(error).strip().splitlines()[-1].removeprefix("fsr_deploy.errors.InputError: ")
            ) from None

    def _learn(self, x: Tensor, hr: Tensor) -> dict[str, Tensor]:
        factor = self.recipe.lr_factor(self.step)
        loss, terms = self.objective(self.generator(x), hr, factor)
        self.generator.update(loss, factor)
        return terms

    def _look_after(self, terms: dict[str, Tensor]) -> None:
        """Log, validate and save when it is time to."""
        last = self.step == self.recipe.steps
        if self.step % self.cadence.log_every == 0 or last:
            means = {name: float(torch.as_tensor(self.fabric.all_reduce(term))) for name, term in terms.items()}
            if self.fabric.is_global_zero:
                rate = self.recipe.lr * self.recipe.lr_factor(self.step - 1)
                self.folder.log("log.csv", {"step": self.step, "lr": rate, **means})
        if self.fabric.is_global_zero:
            validates = self.step % self.cadence.validate_every == 0 or last
            if validates:
                self._validate()
            if validates or self.step % self.cadence.save_every == 0:
                self._save()

    def _validate(self) -> None:
        size = self.held_out[0].shape[0]
        sr = upscale(self.generator.module, self.held_out_lr, size, self.fabric.device)
        self.last = score(sr, self.held_out)
        better = self.last.psnr > self.best_psnr
        self.best_psnr = max(self.best_psnr, self.last.psnr)
        self._say(
            f"step {self.step}: PSNR {self.last.psnr:.2f} dB, SSIM {self.last.ssim:.4f} on Y "
            f"(bicubic {self.bicubic.psnr:.2f} dB, {self.bicubic.ssim:.4f})"
        )
        row = {"step": self.step, "psnr_y": self.last.psnr, "ssim_y": self.last.ssim}
        self.folder.log(
            "validation.csv", {**row, "bicubic_psnr_y": self.bicubic.psnr, "bicubic_ssim_y": self.bicubic.ssim}
        )
        self.folder.picture(self.step, sample_grid(self.held_out[:SAMPLES], sr[:SAMPLES], self.settings.lr_size))
        if better:
            self._export(BEST)

    def _save(self) -> None:
        self.folder.write_state(
            {
                "step": self.step,
                "last": [self.last.psnr, self.last.ssim],
                "best_psnr": self.best_psnr,
                "generator": self.generator.state(),
                "objective": self.objective.state(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "rng": torch.get_rng_state(),
            }
        )
        self._export(LAST)

    def _load(self, state: dict[str, Any]) -> None:
        self.step, self.last, self.best_psnr = state["step"], Score(*state["last"]), state["best_psnr"]
        self.generator.load(state["generator"])
        self.objective.load(state["objective"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        torch.set_rng_state(state["rng"])

    def _export(self, name: str) -> None:
        training = {"step": self.step, **asdict(self.settings), "psnr_y": self.last.psnr, "ssim_y": self.last.ssim}
        training["template"] = self.source.template
        metadata = Metadata(self.settings.model, dict(self.settings.options), training)
        save_safetensors(self.generator.state()["weights"], self.folder.path / name, metadata)

    def _progress(self) -> AbstractContextManager[Callable[[int], None]]:
        if self.fabric.is_global_zero:
            return progress("training", self.recipe.steps - self.step)
        return nullcontext(lambda count: None)

    def _say(self, message: str) -> None:
        if self.fabric.is_global_zero:
            say(message)


def _vgg(settings: TrainSettings) -> VGG19Features | None:
    if not settings.recipe.perceptual:
        return None
    if settings.vgg is None:
        raise UsageError(
            f"this recipe weighs a perceptual loss: name {WANTED} with --vgg FILE, or train without it: --perceptual 0"
        )
    return load_vgg19(Path(settings.vgg))
