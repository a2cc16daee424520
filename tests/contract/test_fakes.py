"""The stand-ins for TensorRT and CUDA offer what the real bindings offer, with the same parameters."""

from __future__ import annotations

import enum
import inspect
from typing import Any

import pytest

from tests.contract.table import MODULES, recorded
from tests.fakes.cuda import Cuda
from tests.fakes.tensorrt import LISTENERS, make


def fake_classes(release: str) -> dict[str, type]:
    module = make(release, Cuda())
    return {name: value for name, value in vars(module).items() if isinstance(value, type)}


def agrees(function: Any, overload: str) -> bool:
    """Tell whether a method has the parameters "(a, b=) -> ..." of a real one; optional ones at the end may lack."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    ours = [p.name + ("=" if p.default is not p.empty else "") for p in parameters]
    theirs = [name for name in overload[1:].partition(")")[0].split(", ") if name]
    return ours == theirs[: len(ours)] and all(name.endswith("=") for name in theirs[len(ours) :])


@pytest.mark.parametrize("release", MODULES)
def test_a_fake_has_the_signatures_of_the_real_class(release: str) -> None:
    facts = recorded(release)["classes"]
    wrong = []
    for name, cls in fake_classes(release).items():
        if issubclass(cls, enum.Enum):
            continue
        for member, value in vars(cls).items():
            known = facts[name]["members"].get(member)
            constructed = member == "__init__" and known is not None
            if (member.startswith("_") and not constructed) or known == []:
                continue
            if inspect.isfunction(value):
                same = any(agrees(value, overload) for overload in known)
            else:
                read_only = isinstance(value, property) and value.fset is None
                same = known in (("ro", "rw") if read_only else ("rw",))
            if not same:
                wrong.append((name, member, known))
    assert wrong == []


@pytest.mark.parametrize("release", MODULES)
def test_a_fake_enumeration_has_the_members_of_the_real_one(release: str) -> None:
    facts = recorded(release)["classes"]
    for name, cls in fake_classes(release).items():
        if issubclass(cls, enum.Enum):
            assert {member: int(value) for member, value in cls.__members__.items()} == facts[name]["enum"]


def test_removed_members_are_missing_from_the_fakes() -> None:
    old, new = fake_classes("8.6"), fake_classes("11.4")
    assert "IProgressMonitor" not in old and "IProgressMonitor" in new
    assert "FP16" in old["BuilderFlag"].__members__ and "FP16" not in new["BuilderFlag"].__members__
    assert hasattr(old["ILayer"], "precision") and not hasattr(new["ILayer"], "precision")


@pytest.mark.parametrize("release", MODULES)
def test_a_fake_refuses_attributes_that_the_real_class_does_not_have(release: str) -> None:
    config = make(release, Cuda()).IBuilderConfig()
    with pytest.raises(AttributeError):
        config.max_workspace_size = 1


def test_listeners_may_be_extended_as_the_real_ones() -> None:
    assert set(LISTENERS) <= set(fake_classes("11.4"))


def test_the_fake_cuda_has_the_functions_and_parameters_of_the_real_binding() -> None:
    from cuda.bindings import runtime

    wrong = []
    for name, value in vars(Cuda).items():
        if not name.startswith("cuda"):
            continue
        real = getattr(runtime, name)
        if inspect.isfunction(value):
            same = list(inspect.signature(value).parameters)[1:] == list(inspect.signature(real).parameters)
        elif isinstance(value, type):
            same = all(int(getattr(real, member)) == int(number) for member, number in value.__members__.items())
        else:
            same = int(real) == value
        if not same:
            wrong.append(name)
    assert wrong == []
