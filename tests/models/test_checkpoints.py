"""Checkpoints load however they were wrapped; what is damaged, hostile or foreign is refused with the next step."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from fsr_deploy.errors import ExitCode, InputError
from fsr_deploy.files import replaced_file
from fsr_deploy.models import registry
from fsr_deploy.models.checkpoints import (
    Metadata,
    fitting,
    load_into,
    load_model,
    load_weights,
    read_metadata,
    save_safetensors,
)

OPTIONS = {"channels": 8, "mid": 8}
WEIGHTS = {"head.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.ones(2)}


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return registry.build("aminet", **OPTIONS)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in WEIGHTS.items()}


WRAPPED = {
    "bare": WEIGHTS,
    "params": {"params": WEIGHTS},
    "params_ema before params": {"params": {"head.weight": torch.zeros(1)}, "params_ema": WEIGHTS},
    "state_dict beside other things": {"epoch": 3, "state_dict": WEIGHTS, "optimizer": {"lr": 1e-4}},
    "model": {"model": WEIGHTS, "iteration": 7},
    "generator": {"generator": WEIGHTS, "discriminator": {"body.weight": torch.zeros(1)}},
    "one wrapper in another": {"model": {"state_dict": WEIGHTS}},
    "DataParallel": prefixed("module."),
    "torch.compile": prefixed("_orig_mod."),
    "DataParallel of a compiled model in a wrapper": {"state_dict": prefixed("module._orig_mod.")},
}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt"])
@pytest.mark.parametrize("content", WRAPPED.values(), ids=WRAPPED)
def test_weights_are_found_in_every_wrapper(tmp_path: Path, content: Any, suffix: str) -> None:
    torch.save(content, tmp_path / f"weights{suffix}")
    assert same(load_weights(tmp_path / f"weights{suffix}"), WEIGHTS)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_are_found_in_safetensors(tmp_path: Path, prefix: str) -> None:
    save_file(prefixed(prefix), tmp_path / "weights.safetensors")
    loaded = load_weights(tmp_path / "weights.safetensors")
    assert same({name: loaded[name] for name in WEIGHTS}, WEIGHTS)


def test_a_prefix_that_only_some_names_have_belongs_to_the_names(tmp_path: Path) -> None:
    torch.save({"module.weight": torch.ones(1), "bias": torch.ones(1)}, tmp_path / "w.pth")
    assert list(load_weights(tmp_path / "w.pth")) == ["module.weight", "bias"]


class Malicious:
    """A pickle of this would make a directory when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def write_code(path: Path) -> None:
    torch.save({"params": WEIGHTS, "hook": Malicious(path.with_name("owned"))}, path)


def write_plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Malicious(path.with_name("owned")), protocol=2))


def write_whole_module(path: Path) -> None:
    torch.save(nn.Linear(2, 2), path)


def write_truncated_zip(path: Path) -> None:
    torch.save(WEIGHTS, path)
    cut(path, 0.6)


def write_truncated_safetensors(path: Path) -> None:
    save_file(WEIGHTS, path)
    cut(path, 0.9)


def write_nan(path: Path) -> None:
    torch.save({"head.weight": torch.ones(3), "head.bias": torch.tensor([0.0, float("nan")])}, path)


def write_infinity(path: Path) -> None:
    save_file({"tail.weight": torch.tensor([float("inf")]).half()}, path)


BAD = {
    "no such file": ("a.pth", lambda path: None, "no such file"),
    "a folder": ("a.pth", lambda path: path.mkdir(), "no such file"),
    "an empty pickle": ("a.pth", lambda path: path.touch(), "the file is empty"),
    "an empty safetensors": ("a.safetensors", lambda path: path.touch(), "the file is empty"),
    "a picture": (
        "a.png",
        lambda path: path.write_bytes(b"\x89PNG"),
        "not a checkpoint; expected .safetensors, .pth, .pt, .ckpt",
    ),
    "a text": ("a.pth", lambda path: path.write_text("no weights"), "cut off or not a PyTorch checkpoint"),
    "a truncated pth": ("a.pth", write_truncated_zip, "cut off or not a PyTorch checkpoint"),
    "a truncated safetensors": (
        "a.safetensors",
        write_truncated_safetensors,
        "cut off or not a safetensors file (Error while deserializing header: incomplete metadata, file not fully "
        "covered)",
    ),
    "a pickle with code": (
        "a.pth",
        write_code,
        "refused: it holds more than weights (posix.mkdir), and loading that could run code; "
        "save the state dict alone, best as safetensors",
    ),
    "a bare pickle with code": (
        "a.ckpt",
        write_plain_pickle,
        "refused: it holds more than weights (posix.mkdir), and loading that could run code; "
        "save the state dict alone, best as safetensors",
    ),
    "a whole module": (
        "a.pt",
        write_whole_module,
        "refused: it holds more than weights (torch.nn.modules.linear.Linear), and loading that could run code; "
        "save the state dict alone, best as safetensors",
    ),
    "no tensors": (
        "a.pth",
        lambda path: torch.save({"epoch": 1, "lr": 0.1, "loss": 2.0, "best": 3}, path),
        "no weights in it, only epoch, lr, loss, ...",
    ),
    "an empty dictionary": (
        "a.pth",
        lambda path: torch.save({}, path),
        "no weights in it, only an empty dictionary",
    ),
    "a lone tensor": ("a.pth", lambda path: torch.save(torch.ones(3), path), "no weights in it, only a Tensor"),
    "NaN": (
        "a.pth",
        write_nan,
        "head.bias holds NaN or infinity; take a checkpoint from before the training broke",
    ),
    "infinity": (
        "a.safetensors",
        write_infinity,
        "tail.weight holds NaN or infinity; take a checkpoint from before the training broke",
    ),
}


@pytest.mark.parametrize(("name", "write", "message"), BAD.values(), ids=BAD)
def test_a_bad_checkpoint_is_refused_by_name(
    tmp_path: Path, name: str, write: Callable[[Path], Any], message: str
) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(InputError) as caught:
        load_weights(path)
    assert str(caught.value) == f"{path}: {message}"
    assert caught.value.exit_code == ExitCode.BAD_INPUT
    assert not (tmp_path / "owned").exists()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_damaged_file_is_refused_or_loads_but_never_breaks(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    path = tmp_path / f"weights{suffix}"
    torch.save(WEIGHTS, path) if suffix == ".pth" else save_file(WEIGHTS, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        load_weights(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")


def test_weights_of_another_model_name_the_differences_and_the_model_they_fit(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(registry.build("aminet-tiny").state_dict(), path)
    with pytest.raises(InputError) as caught:
        load_into(network(), path, "aminet")
    message = str(caught.value)
    assert message.startswith(f"{path}: not weights of aminet: ")
    assert (
        " of another shape (encoders.0.local.refine.body.7.skip0.0.weight (16, 8, 3, 3) instead of (8, 8, 3, 3), "
        in message
    )
    assert message.endswith("...); they fit aminet-tiny")


def test_missing_and_unexpected_names_are_shown_in_part(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    weights = network().state_dict()
    del weights["head.bias"]
    weights |= {f"loss.{i}": torch.zeros(1) for i in range(4)}
    torch.save(weights, path)
    with pytest.raises(InputError) as caught:
        load_into(network(), path, "aminet")
    assert str(caught.value) == (
        f"{path}: not weights of aminet: 1 missing (head.bias); 4 unexpected (loss.0, loss.1, loss.2, ...); "
        "they fit no registered model"
    )


def test_weights_that_do_not_fit_leave_the_network_as_it_was(tmp_path: Path) -> None:
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = network(seed=1).state_dict()
    del weights["tail.bias"]
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(InputError):
        load_into(model, tmp_path / "w.pth", "aminet")
    assert same(model.state_dict(), before)


def test_all_models_that_weights_fit_are_found() -> None:
    with torch.device("meta"):
        assert fitting(registry.build("aminet-s").state_dict()) == ["aminet-s"]
        assert {"aminet", "amigan"} <= set(fitting(registry.build("aminet").state_dict()))


PUBLIC_NAMES = (
    (r"^head", "encoder.0.conv2d"),
    (r"^down\.(\d)", lambda found: f"encoder.{int(found[1]) + 1}"),
    (r"^body", "res_layers"),
    (r"^up", "decoder"),
    (r"^tail", "out_conv.conv2d"),
    (r"preact\.norm", "preact_func.0.norm"),
    (r"short\.", "shortcut_func."),
    (r"hourglass\.out", "att_func.out_block.0.conv2d"),
    (r"hourglass\.inner", "att_func.b2_plus_1"),
    (r"hourglass\.skip\.(\d)", lambda found: f"att_func.b1_{int(found[1]) + 1}"),
    (r"hourglass\.down\.(\d)", lambda found: f"att_func.b2_{int(found[1]) + 1}"),
    (r"hourglass\.up\.(\d)", lambda found: f"att_func.b3_{int(found[1]) + 1}"),
    (r"\.conv\.", ".conv2d."),
    (r"(?<!func\.0)\.norm\.", ".norm.norm."),
)


def test_the_public_sparnets_names_are_understood(tmp_path: Path) -> None:
    model, path = registry.build("sparnet"), tmp_path / "SPARNet.pth"
    public = {}
    for name, tensor in model.state_dict().items():
        for pattern, replacement in PUBLIC_NAMES:
            name = re.sub(pattern, replacement, name)
        public[name] = tensor
    assert {"encoder.0.conv2d.weight", "res_layers.9.conv2.norm.norm.running_var"} <= set(public)
    torch.save(public, path)

    assert fitting(public) == ["sparnet"]
    fresh = registry.build("sparnet")
    load_into(fresh, path, "sparnet")
    assert same(fresh.state_dict(), model.state_dict())


def test_a_saved_checkpoint_builds_its_own_model(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "best.safetensors"
    metadata = Metadata("aminet", OPTIONS, {"recipe": "aminet", "steps": 100})
    save_safetensors(network(seed=3).state_dict(), path, metadata)
    model, found = load_model(path)
    assert found == read_metadata(path) == metadata
    assert same(model.state_dict(), network(seed=3).state_dict())


def test_tensors_that_share_memory_are_saved_apart(tmp_path: Path) -> None:
    grid = torch.arange(6.0).view(2, 3)
    save_safetensors({"a": grid, "b": grid, "c": grid.T}, tmp_path / "w.safetensors", Metadata("aminet"))
    assert torch.equal(load_weights(tmp_path / "w.safetensors")["c"], grid.T)


def test_a_checkpoint_without_metadata_says_which_models_it_fits(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(registry.build("aminet-tiny").state_dict(), path)
    assert read_metadata(path) is None
    with pytest.raises(InputError) as caught:
        load_model(path)
    assert str(caught.value) == (f"{path}: does not say which model it holds; name the model too (it fits aminet-tiny)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "its metadata is damaged: Expecting property name"),
        ('{"options": {}}', "its metadata is damaged: model is missing"),
        ('{"model": 3}', "its metadata is damaged: model is int instead of str"),
        ("[" * 100000, "its metadata is damaged: "),
        ('{"model": "aminet3"}', "names a model that cannot be built here: no model is called 'aminet3'"),
        ('{"model": "aminet", "options": {"depth": 9}}', "names a model that cannot be built here: aminet has no"),
        ('{"model": "aminet", "options": {"channels": "x"}}', "names a model that cannot be built here: "),
        ('{"model": "aminet", "options": {"channels": -8}}', "names a model that cannot be built here: "),
    ],
)
def test_metadata_that_anyone_may_have_written_is_checked(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file(WEIGHTS, path, {"fsr_deploy": text})
    with pytest.raises(InputError) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_metadata_is_readable_without_this_package(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_safetensors(WEIGHTS, path, Metadata("aminet-s"))
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert json.loads(header["__metadata__"]["fsr_deploy"])["model"] == "aminet-s"


def test_an_interrupted_write_leaves_the_old_checkpoint_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_safetensors(WEIGHTS, path, Metadata("aminet"))
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), replaced_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "last.safetensors"
    with pytest.raises(InputError) as caught:
        save_safetensors(WEIGHTS, path, Metadata("aminet"))
    assert str(caught.value) == f"{path}: cannot be written: File exists"
