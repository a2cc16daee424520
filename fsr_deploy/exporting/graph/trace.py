"""From a module to ONNX by PyTorch's exporter, for any batch; on failure, the module that prevents it."""

from __future__ import annotations

import logging
import re
import time
import warnings
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from onnx import ModelProto
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.onnx import OnnxExporterError

from fsr_deploy.errors import InputError
from fsr_deploy.exporting.graph.batch import BatchSize, whole_batches

INPUT, OUTPUT, BATCH = "lr", "sr", "N"
ADVICE = "see 'Adding a network' in docs/models.md"
BY_CHANCE = "it draws random numbers in each run, so that no engine can be proven to equal it; give it constant ones"
# What draws them; a dropout and an attention could, and do not where a network is not trained.
DRAWING = {"bernoulli", "bernoulli_", "exponential", "exponential_", "multinomial", "normal", "normal_", "poisson"}
DRAWING |= {"rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "uniform", "uniform_"}


@dataclass(frozen=True)
class SharedTraces:
    """Graphs by the form that they were traced for, and the seconds that each trace took."""

    graphs: dict[Hashable, bytes] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)


_shared: ContextVar[SharedTraces | None] = ContextVar("shared", default=None)


@contextmanager
def sharing_traces() -> Iterator[SharedTraces]:
    """Trace each form of a network once in the block, which takes half a minute for a large one."""
    shared = SharedTraces()
    token = _shared.set(shared)
    try:
        yield shared
    finally:
        _shared.reset(token)


def trace(deployable: nn.Module, example: Tensor, opset: int, form: Hashable = None) -> ModelProto:
    """Export a module, traced with a batch of two, for any batch.

    ``form`` is equal for modules that give the same graph: ``sharing_traces`` traces one of them. Raises InputError
    that names the module whose code fixes the batch size or cannot be traced.
    """
    shared = _shared.get()
    if form is None or shared is None:
        return _trace(deployable, example, opset)
    if form not in shared.graphs:
        start = time.monotonic()
        shared.graphs[form] = _trace(deployable, example, opset).SerializeToString()
        shared.seconds.append(time.monotonic() - start)
    return ModelProto.FromString(shared.graphs[form])


def _trace(deployable: nn.Module, example: Tensor, opset: int) -> ModelProto:
    captured = _capture(deployable, example)
    _refuse_chance(captured)
    try:
        with _quiet():
            program = torch.onnx.export(
                captured,
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=_batches(1),
                opset_version=opset,
                verbose=False,
            )
    except OnnxExporterError as error:
        raise _untranslated(captured, error) or _refusal(deployable, example, error) from error
    assert program is not None
    model = program.model_proto
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if dimensions[0].dim_param != BATCH or not all(d.dim_value for d in dimensions[1:]):
            sizes = [d.dim_param or d.dim_value for d in dimensions]
            raise InputError(f"the network returns {value.name} of {sizes}, not of any batch; {ADVICE}")
    return model


def _capture(deployable: nn.Module, example: Tensor) -> ExportedProgram:
    """Return the operations of a module for any batch, which PyTorch has made sure of.

    The exporter's own capture would put off what cannot be shown for any batch to asserts that no ONNX graph holds:
    a size that the network's code computes for the batch of the trace became a number without a word.
    """
    try:
        return _export(deployable, example, least=1)
    except Exception:  # whatever the network's own code raises
        pass
    try:
        # A batch of one may need another layout in memory; whether it has the same values, the proof looks.
        return _export(deployable, example, least=2)
    except Exception as error:
        raise _refusal(deployable, example, error) from error


def _export(deployable: nn.Module, example: Tensor, least: int) -> ExportedProgram:
    settings: Any = torch.fx.experimental._config
    # Without the setting a trace with a batch of two never holds for one.
    with _quiet(), whole_batches(deployable), settings.patch(backed_size_oblivious=True):
        return torch.export.export(deployable, (example,), dynamic_shapes=_batches(least), strict=False)


def _batches(least: int) -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim(BATCH, min=least)},)


def _refusal(deployable: nn.Module, example: Tensor, error: Exception) -> InputError:
    """Return what to tell of a module that cannot be exported: that it does not run at all, or what stops the trace."""
    if reason := _failure(deployable, example):
        way = f"its code takes one face at a time; {ADVICE}"
        if _failure(deployable, example[:1]):
            way = "give another size with --lr-size"
        return InputError(f"the network itself does not run on an input of {list(example.shape)}: {reason}; {way}")
    with torch.no_grad():
        if not torch.equal(deployable(example), deployable(example)):
            return InputError(f"the network itself makes two pictures of one face: {BY_CHANCE}; {ADVICE}")
    return InputError(_obstacle(deployable, example) or f"{_first_line(error)}; {ADVICE}")


def _failure(deployable: nn.Module, example: Tensor) -> str | None:
    """Return the first line of what a module raises for an example, None where it runs."""
    try:
        with _quiet():
            deployable(example)
    except Exception as reason:
        return _first_line(reason)
    return None


def _untranslated(captured: ExportedProgram, error: BaseException) -> InputError | None:
    """Return what to tell of an operation that the exporter has no ONNX for, None where it names none."""
    texts = []
    cause: BaseException | None = error
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__
    found = re.search(r"translating node %(\w+)", "\n".join(texts))
    if found is None:
        return None
    # The exporter has taken some operations apart: the part's name ends as the whole's does.
    nodes = sorted(captured.graph.nodes, key=lambda node: node.name != found[1])
    node = next((node for node in nodes if node.name.endswith(found[1])), None)
    if node is None:
        return None
    return InputError(f"{_module_of(node)}: {node.target} has no form in ONNX; {ADVICE}")


def _module_of(node: Any) -> str:
    """Return the path and class of the module whose code a node of a captured graph comes from."""
    path, kind = list(node.meta.get("nn_module_stack", {"": ("", "")}).values())[-1]
    kind = kind if isinstance(kind, str) else kind.__name__
    return f"module {path or '(the network itself)'} ({kind.rpartition('.')[2]})"


def _refuse_chance(captured: ExportedProgram) -> None:
    """Raise InputError for a network that draws random numbers."""
    for node in captured.graph.nodes:
        if getattr(getattr(node.target, "overloadpacket", None), "__name__", "") in DRAWING:
            raise InputError(f"{_module_of(node)}: {BY_CHANCE}; {ADVICE}")


def _obstacle(deployable: nn.Module, example: Tensor) -> str | None:
    """Trace a module again and return a sentence about what stops it, None where nothing is found."""
    watch = _Watch(deployable)
    try:
        with watch.hooked():
            _export(deployable, example, least=2)
    except Exception as error:  # whatever the network's own code raises
        if watch.fixing is None and watch.running:
            return f"{watch.name(watch.running[-1])}: cannot be traced: {_first_line(error)}; {ADVICE}"
    if watch.fixing is None:
        return None
    return (
        f"{watch.name(watch.fixing)}: its code fixes the batch size, by a loop over it, a condition on it, or a shape "
        f"with numbers in it; {ADVICE}"
    )


class _Watch:
    """Which module runs during a trace, and in which one a size that depends on the batch becomes a number."""

    def __init__(self, root: nn.Module) -> None:
        self.root = root
        self.running: list[nn.Module] = []
        self.fixing: nn.Module | None = None
        self._batch: BatchSize | None = None

    def name(self, module: nn.Module) -> str:
        """Return a module's path and class."""
        path = next(path for path, inner in self.root.named_modules() if inner is module)
        return f"module {path or '(the network itself)'} ({type(module).__name__})"

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Watch while the block runs."""
        handles = [
            handle
            for module in self.root.modules()
            for handle in (
                module.register_forward_pre_hook(self._enter, prepend=True),
                module.register_forward_hook(self._leave),
            )
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not self.running:
            self._batch = BatchSize(inputs[0].shape[0])
        self._look()
        self.running.append(module)

    def _leave(self, module: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> None:
        self._look()
        self.running.pop()

    def _look(self) -> None:
        if self.fixing is None and self.running and self._batch is not None and self._batch.is_fixed():
            self.fixing = self.running[-1]


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's own messages in the block."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    """Return the first line of an error, or of the innermost one that it was raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
