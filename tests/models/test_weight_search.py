"""A network's weights are found wherever a trainer put them; the average is taken before what it is an average of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fsr_deploy.errors import ExitCode, FsrError, InputError, UsageError
from fsr_deploy.models import registry
from fsr_deploy.models.checkpoints import load_into
from fsr_deploy.models.weight_files import read_tensors


class Net(nn.Module):
    """Two convolutions and a batch norm: weights that are trained, and statistics that are not."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 4, 3)
        self.body = nn.ModuleList([nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))])


def state(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    weights = {name: torch.rand_like(tensor.float()) for name, tensor in Net().state_dict().items()}
    return {**weights, "body.0.0.num_batches_tracked": torch.tensor(100 + seed)}


GOOD, RAW = state(1), state(2)
STATISTIC = "body.0.0.running_mean"
TRAINED = [name for name, _ in Net().named_parameters()]
D = {"w": torch.zeros(3), "body.weight": torch.zeros(2)}


def under(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in weights.items()}


def parameters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weights[name] for name in TRAINED}


LIGHTNING = {
    "epoch": 3,
    "global_step": 10,
    "pytorch-lightning_version": "2.5",
    "loops": {},
    "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(1.0), "dirpath": "x"}},
    "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(4)}}, "param_groups": []}],
    "hyper_parameters": {"lr": 1e-4},
}
# What is in the file, and the entry that the weights GOOD lie in; one network's weights only.
ALONE: dict[str, tuple[Any, str]] = {
    "bare": (GOOD, ""),
    "in a list": ([GOOD], "0"),
    "epoch beside the weights": ({**GOOD, "epoch": 5, "lr": 0.1}, ""),
    "counters beside the weights": ({**GOOD, "step": torch.tensor(5), "rng": torch.zeros(8, dtype=torch.uint8)}, ""),
    "an optimiser beside the weights": ({**GOOD, "optimizer": {"state": {0: {"exp_avg": torch.zeros(4)}}}}, ""),
    "an optimiser that names its averages": ({"net": GOOD, "optimizer": {"exp_avg": RAW}}, "net"),
    "averages of an optimiser": ({"net": GOOD, "adam": {"exp_avg": parameters(RAW)}}, "net"),
    "params": ({"params": GOOD}, "params"),
    "one in another": ({"model": {"state_dict": GOOD}, "epoch": 1}, "model.state_dict"),
    "any name": ({"whatever I called it": GOOD}, "whatever I called it"),
    "a generator and its discriminator": ({"netG": GOOD, "netD": D}, "netG"),
    "DataParallel": (under("module.", GOOD), "module"),
    "torch.compile": (under("_orig_mod.", GOOD), "_orig_mod"),
    "DataParallel of a compiled network": (under("module._orig_mod.", GOOD), "module._orig_mod"),
    "a compiled network of DataParallel": (under("_orig_mod.module.", GOOD), "_orig_mod.module"),
    "a compiled part": ({name.replace("body.0", "body.0._orig_mod"): t for name, t in GOOD.items()}, ""),
    "an averaged model": ({"n_averaged": torch.tensor(7), **under("module.", GOOD)}, "module"),
    "Lightning": ({**LIGHTNING, "state_dict": under("net_g.", GOOD)}, "state_dict.net_g"),
    "Lightning, deeper": ({**LIGHTNING, "state_dict": under("model.net.", GOOD)}, "state_dict.model.net"),
    "Lightning, compiled": ({"state_dict": under("net._orig_mod.", GOOD)}, "state_dict.net._orig_mod"),
    "Lightning's GAN": ({"state_dict": {**under("gen.", GOOD), **under("discriminator.", D)}}, "state_dict.gen"),
    "Lightning, the network itself with its loss": ({"state_dict": {**GOOD, **under("loss.vgg.", D)}}, "state_dict"),
    "an average alone": ({"ema": GOOD}, "ema"),
    "without batch norms' counters": ({k: v for k, v in GOOD.items() if "num_batches" not in k}, ""),
    "half precision": ({name: tensor.half() for name, tensor in GOOD.items()}, ""),
}  # fmt: skip
# Here GOOD is the average, or what a trainer means to be used, and RAW is what it was made from.
SEVERAL: dict[str, tuple[Any, str, str]] = {
    "timm": ({"epoch": 3, "state_dict": RAW, "state_dict_ema": GOOD, "metric": 1.0}, "state_dict_ema", "state_dict"),
    "model and model_ema": ({"model": RAW, "model_ema": GOOD}, "model_ema", "model"),
    "model and ema": ({"model": RAW, "ema": GOOD}, "ema", "model"),
    "the average first": ({"ema": GOOD, "model": RAW}, "ema", "model"),
    "StyleGAN": ({"g": RAW, "d": D, "g_ema": GOOD, "g_optim": {}}, "g_ema", "g"),
    "net_g_ema": ({"net_g": RAW, "net_g_ema": GOOD, "net_d": D}, "net_g_ema", "net_g"),
    "BasicSR": ({"params": RAW, "params_ema": GOOD}, "params_ema", "params"),
    "BasicSR of DataParallel": (
        {"params": under("module.", RAW), "params_ema": under("module.", GOOD)},
        "params_ema.module",
        "params.module",
    ),
    "capitals": ({"netG": RAW, "netGEMA": GOOD}, "netGEMA", "netG"),
    "in one entry": ({"state": {"model": RAW, "model_ema": GOOD}}, "state.model_ema", "state.model"),
    "in the names": ({**under("model.", RAW), **under("model_ema.module.", GOOD)}, "model_ema.module", "model"),
    "ema_pytorch": (
        {**under("online_model.", RAW), **under("ema_model.", GOOD), "initted": torch.tensor(True)},
        "ema_model",
        "online_model",
    ),
    "ema_pytorch beside the model": (
        {"model": RAW, "ema": {**under("online_model.", RAW), **under("ema_model.", GOOD), "step": torch.tensor(9)}},
        "ema.ema_model",
        "model, ema.online_model",
    ),
    "ema_pytorch in an entry called model": (
        {"ema": {**under("model.", RAW), **under("ema_model.", GOOD)}},
        "ema.ema_model",
        "ema.model",
    ),
    "Lightning with an average": (
        {**LIGHTNING, "state_dict": {**under("net_g.", RAW), **under("net_g_ema.", GOOD), **under("net_d.", D)}},
        "state_dict.net_g_ema",
        "state_dict.net_g",
    ),
    "Lightning's weight averaging": (
        {**LIGHTNING, "state_dict": under("net.", GOOD), "current_model_state": under("net.", RAW)},
        "state_dict.net",
        "current_model_state.net",
    ),
    "an averaged model beside the model": (
        {"a": RAW, "b": {"n_averaged": torch.tensor(7), **under("module.", GOOD)}},
        "b.module",
        "a",
    ),
    "SWA": ({"model": RAW, "swa_model": under("module.", GOOD)}, "swa_model.module", "model"),
    "MMEngine, which swaps the two": (
        {"state_dict": GOOD, "ema_state_dict": {"steps": torch.tensor(3), **under("module.", RAW)}},
        "state_dict",
        "ema_state_dict.module",
    ),
    "the same twice": ({"state_dict": GOOD, "model": GOOD}, "state_dict", "model"),
}


@pytest.fixture(autouse=True)
def no_other_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building all registered networks, to say which of them weights fit, takes seconds."""
    registry.names()
    monkeypatch.setattr(registry, "_RECORDS", {})


def load(path: Path, key: str | None = None) -> tuple[dict[str, Tensor], str, list[str]]:
    """Return the weights that a network has after loading, the entry they came from, and what was said."""
    said: list[str] = []
    network = Net()
    entry = load_into(network, path, "net", key, said.append)
    return network.state_dict(), entry, said


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.allclose(one[name].float(), other[name].float(), atol=1e-3) for name in (*TRAINED, STATISTIC))


@pytest.mark.parametrize(("content", "entry"), ALONE.values(), ids=ALONE)
def test_one_networks_weights_are_found_wherever_they_lie_and_nothing_is_said(
    tmp_path: Path, content: Any, entry: str
) -> None:
    weights, taken, said = load(saved(tmp_path / "w.pth", content))
    assert same(weights, GOOD)
    assert (taken, said) == (entry, [])


@pytest.mark.parametrize(("content", "entry", "others"), SEVERAL.values(), ids=SEVERAL)
def test_the_average_is_taken_and_what_was_taken_is_said(tmp_path: Path, content: Any, entry: str, others: str) -> None:
    path = saved(tmp_path / "w.pth", content)
    weights, taken, said = load(path)
    assert same(weights, GOOD)
    assert taken == entry
    [line] = said
    assert line.startswith(f"{path}: took the ") and f"weights in {entry}; --key NAME takes others: {others}" in line


@pytest.mark.parametrize(("content", "entry", "others"), SEVERAL.values(), ids=SEVERAL)
def test_every_entry_that_is_named_can_be_taken(tmp_path: Path, content: Any, entry: str, others: str) -> None:
    path = saved(tmp_path / "w.pth", content)
    expected = GOOD if content.get("model") is GOOD else RAW
    for name in others.split(", "):
        weights, taken, said = load(path, name)
        assert same(weights, expected) and taken == name and not said
    weights, taken, said = load(path, entry)
    assert same(weights, GOOD) and taken == entry


def test_flat_names_in_safetensors_are_told_apart_the_same_way(tmp_path: Path) -> None:
    save_file({**under("params_ema.", GOOD), **under("params.", RAW)}, tmp_path / "w.safetensors")
    weights, taken, _ = load(tmp_path / "w.safetensors")
    assert same(weights, GOOD) and taken == "params_ema"


@pytest.mark.parametrize("name", ["ema", "shadow", "model_ema"])
def test_an_average_of_the_parameters_alone_gets_the_statistics_of_the_weights_beside_it(
    tmp_path: Path, name: str
) -> None:
    path = saved(tmp_path / "w.pth", {"model": RAW, name: parameters(GOOD)})
    weights, taken, said = load(path)
    assert all(torch.equal(weights[one], GOOD[one]) for one in TRAINED)
    assert torch.equal(weights[STATISTIC], RAW[STATISTIC])
    assert taken == name
    assert said == [
        f"{path}: took the averaged weights in {name}, with the statistics in model; --key NAME takes others: model"
    ]


def test_the_last_part_of_a_place_is_enough_to_name_it(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", {**LIGHTNING, "state_dict": {**under("a.", GOOD), **under("b.", RAW)}})
    assert same(load(path, "a")[0], GOOD) and same(load(path, "b")[0], RAW)


REFUSED: dict[str, tuple[Any, str | None, type[FsrError], str]] = {
    "two generators": (
        {"state_dict": {**under("generator_a.", GOOD), **under("generator_b.", RAW)}},
        None,
        InputError,
        "several entries hold weights of net: state_dict.generator_a, state_dict.generator_b; name one with --key, "
        "for example --key state_dict.generator_a",
    ),
    "two averages": (
        {"model": RAW, "ema_0": GOOD, "ema_1": RAW},
        None,
        InputError,
        "several entries hold weights of net: ema_0, ema_1; name one with --key, for example --key ema_0",
    ),
    "an average of which only numbers are known": (
        {"model": RAW, "ema": {"decay": 0.99, "shadow_params": [GOOD[name] for name in TRAINED]}},
        None,
        InputError,
        "ema looks like an average of the weights, but its names or shapes are not those of net; --key model takes the "
        "weights that are not averaged",
    ),
    "an unknown key": (
        {"model": RAW, "model_ema": GOOD},
        "ema",
        UsageError,
        "--key ema: no entry of that name; it has model, model_ema",
    ),
    "a key where there are no entries": (
        GOOD,
        "params",
        UsageError,
        "--key params: its weights lie in no entry; leave --key out",
    ),
    "a key of something else": (
        {"net_g": GOOD, "net_d": D},
        "net_d",
        InputError,
        "not weights of net: 8 missing (head.weight, head.bias, body.0.0.weight, ...); 2 unexpected (net_d.w, "
        "net_d.body.weight); they fit no registered model",
    ),
    "an entry in which a tensor is missing": (
        {"net_g": {k: v for k, v in GOOD.items() if k != "head.bias"}, "net_d": D},
        None,
        InputError,
        "not weights of net: 1 missing (head.bias) in net_g; they fit no registered model",
    ),
    "a network that has more": (
        {"net": {**GOOD, "extra.weight": torch.zeros(2, 2), "scale": torch.zeros(2)}},
        None,
        InputError,
        "not weights of net: 2 unexpected (extra.weight, scale) in net; they fit no registered model",
    ),
}


@pytest.mark.parametrize(("content", "key", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_what_nothing_tells_apart_or_fits_is_refused_with_what_there_is(
    tmp_path: Path, content: Any, key: str | None, kind: type[FsrError], message: str
) -> None:
    path = saved(tmp_path / "w.pth", content)
    with pytest.raises(kind) as caught:
        load(path, key)
    assert str(caught.value) == f"{path}: {message}"


def test_an_average_of_a_discriminator_says_nothing_of_the_generator(tmp_path: Path) -> None:
    content = {"net_g": GOOD, "net_d_ema": {str(i): torch.zeros(1) for i in range(9)}}
    assert load(saved(tmp_path / "w.pth", content))[1] == "net_g"


def test_only_the_weights_that_are_taken_have_to_be_finite(tmp_path: Path) -> None:
    broken = {**GOOD, "head.bias": torch.full((4,), float("nan"))}
    path = saved(tmp_path / "w.pth", {"model": broken, "ema": GOOD})
    assert same(load(path)[0], GOOD)
    with pytest.raises(InputError, match=r"head\.bias holds NaN or infinity"):
        load(path, "model")


def test_of_a_broken_average_the_other_weights_are_named(tmp_path: Path) -> None:
    broken = {**GOOD, "head.bias": torch.full((4,), float("nan"))}
    path = saved(tmp_path / "w.pth", {"model": RAW, "ema": broken})
    with pytest.raises(InputError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}: head.bias in ema holds NaN or infinity; take a checkpoint from before the training broke, or other "
        "weights of this file with --key: model"
    )


def test_a_file_whose_lists_hold_themselves_is_read_to_an_end(tmp_path: Path) -> None:
    loop: list[Any] = [1]
    loop += [loop, loop]
    path = saved(tmp_path / "w.pth", {"net": GOOD, "loop": loop})
    assert same(load(path)[0], GOOD)
    wide = [torch.zeros(1)] * 1000
    for _ in range(5):
        wide = [wide] * 1000  # type: ignore[list-item]
    with pytest.raises(InputError, match="more than 250,000 entries; this is no file of weights"):
        read_tensors(saved(tmp_path / "wide.pth", wide))


def test_an_entrys_name_is_shown_without_control_characters(tmp_path: Path) -> None:
    assert load(saved(tmp_path / "w.pth", {"a\x1b[31m": GOOD}))[1] == "a\\x1b[31m"


def test_an_unknown_key_ends_with_the_code_of_a_wrong_option(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(saved(tmp_path / "w.pth", {"model": GOOD}), "nonesuch")
    assert caught.value.exit_code == ExitCode.USAGE
