"""A checkpoint fills the model that it is of, says which model that is, and is saved whole or not at all."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fsr_deploy._util.files import replaced_file
from fsr_deploy.errors import InputError
from fsr_deploy.models import registry
from fsr_deploy.models.checkpoints import (
    Metadata,
    fitting,
    load_into,
    load_model,
    read_metadata,
    save_safetensors,
)
from fsr_deploy.models.weight_files import read_tensors

OPTIONS = {"channels": 8, "mid": 8}
WEIGHTS = {"head.weight": torch.arange(6.0).view(2, 3), "head.bias": torch.ones(2)}


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return registry.build("aminet", **OPTIONS)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


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
    weights |= {f"extra.{i}": torch.zeros(1) for i in range(4)}
    torch.save(weights, path)
    with pytest.raises(InputError) as caught:
        load_into(network(), path, "aminet")
    assert str(caught.value) == (
        f"{path}: not weights of aminet: 1 missing (head.bias); 4 unexpected (extra.0, extra.1, extra.2, ...); "
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
    assert torch.equal(read_tensors(tmp_path / "w.safetensors")["c"], grid.T)


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
    assert str(caught.value) == f"{path}: cannot be written: Not a directory"
