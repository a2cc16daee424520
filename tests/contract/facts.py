"""What a TensorRT Python binding offers, as plain data: classes with their members, parameters and return types.

usage: python facts.py MODULE      (tensorrt, tensorrt_bindings or tensorrt_rtx; prints JSON)

Runs on its own, in the interpreter of the binding: it imports nothing of this package.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from typing import Any

CLASSES = """
Builder BuilderFlag ComputeCapability CudaGraphStrategy DataType DynamicShapesKernelSpecializationStrategy
EngineInspector EngineInvalidityDiagnostics EngineValidity HardwareCompatibilityLevel IBuilderConfig ICudaEngine
IExecutionContext IHostMemory ILayer ILogger INetworkDefinition IOptimizationProfile IProfiler IProgressMonitor
IRuntimeCache IRuntimeConfig ITensor ITimingCache LayerInformationFormat LayerType MemoryPoolType
NetworkDefinitionCreationFlag OnnxParser ParserError PreviewFeature ProfilingVerbosity Runtime Severity TacticSource
TensorIOMode TilingOptimizationLevel
""".split()  # noqa: SIM905  (a list of 37 literals is no easier to read)

# How bindings name a class in a signature where it was not registered yet.
CPP_NAMES = {"IEngineInspector": "EngineInspector", "IParserError": "ParserError"}


def facts(module: Any) -> dict[str, Any]:
    """Return {"version": ..., "classes": {name: members}} of a binding."""
    found = {name: _class(module, name) for name in CLASSES}
    return {"version": module.__version__, "classes": {name: members for name, members in found.items() if members}}


def _class(module: Any, name: str) -> dict[str, Any] | None:
    cls = module.ILogger.Severity if name == "Severity" else getattr(module, name, None)
    if cls is None:
        return None
    if hasattr(cls, "__members__"):
        return {"enum": {member: int(value) for member, value in cls.__members__.items()}}
    names = [member for member in dir(cls) if not member.startswith("_")]
    if (cls.__init__.__doc__ or "").startswith("__init__("):
        names.append("__init__")
    return {"members": {member: _member(getattr(cls, member)) for member in sorted(names)}}


def _member(value: Any) -> Any:
    """Return "rw" or "ro" for a property, "value" for a constant, each overload of a method as "(a, b=) -> Class"."""
    if isinstance(value, property):
        return "rw" if value.fset else "ro"
    if not callable(value):
        return "value"
    text = value.__doc__ or ""
    overloads = [
        match for line in text.splitlines() if (match := re.match(r"(?:\d+\. )?\w+\((self: .*)\) -> (.*)$", line))
    ]
    return [f"({_parameters(match[1])}) -> {_short(match[2])}" for match in overloads]


def _parameters(text: str) -> str:
    """Return the parameters' names without self, "=" behind those with a default."""
    depth, parts = 0, [""]
    for character in text:
        depth += (character in "[(<") - (character in "])>")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    named = [part.strip() for part in parts[1:]]
    return ", ".join(part.partition(":")[0] + ("=" if " = " in part else "") for part in named)


def _short(annotation: str) -> str:
    """Return the class that an annotation ends with: "tensorrt.tensorrt.ITensor" is "ITensor"."""
    name = re.split(r"[.:]", annotation.strip())[-1].rstrip("]")
    return CPP_NAMES.get(name, name)


if __name__ == "__main__":
    json.dump(facts(importlib.import_module(sys.argv[1])), sys.stdout, indent=1, sort_keys=True)
    print()
