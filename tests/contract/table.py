"""The members of TensorRT's Python API that our source may touch, and the releases that they are checked against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RELEASES = ("8.6", "10.16", "11.4")
RTX = "rtx-1.7"  # TensorRT for RTX
MODULES = {**dict.fromkeys(RELEASES, "tensorrt"), RTX: "tensorrt_rtx"}
RECORDED = Path(__file__).with_name("recorded")

EVERYWHERE = {
    "Builder": "build_serialized_network create_builder_config create_network create_optimization_profile",
    "BuilderFlag": "TF32 VERSION_COMPATIBLE",
    "DataType": "FLOAT",
    "EngineInspector": "get_engine_information",
    "IBuilderConfig": "add_optimization_profile builder_optimization_level clear_flag create_timing_cache "
    "get_memory_pool_limit get_timing_cache hardware_compatibility_level profiling_verbosity set_flag "
    "set_memory_pool_limit set_preview_feature set_tactic_sources set_timing_cache",
    "ICudaEngine": "create_engine_inspector create_execution_context get_tensor_dtype get_tensor_mode get_tensor_name "
    "get_tensor_profile_shape get_tensor_shape num_io_tensors num_optimization_profiles",
    "IExecutionContext": "execute_async_v3 profiler set_input_shape set_optimization_profile_async set_tensor_address",
    "ILayer": "get_output name num_outputs type",
    "ILogger": "__init__ log",
    "INetworkDefinition": "get_input get_layer num_inputs num_layers num_outputs",
    "IOptimizationProfile": "set_shape",
    "IProfiler": "__init__ report_layer_time",
    "ITensor": "dtype name shape",
    "ITimingCache": "serialize",
    "LayerInformationFormat": "JSON",
    "MemoryPoolType": "WORKSPACE",
    "OnnxParser": "get_error num_errors parse",
    "ParserError": "desc node",
    "ProfilingVerbosity": "DETAILED",
    "Runtime": "deserialize_cuda_engine engine_host_code_allowed",
    "Severity": "ERROR WARNING",
    "TensorIOMode": "INPUT OUTPUT",
    "module": "Builder BuilderFlag DataType HardwareCompatibilityLevel ILogger IProfiler LayerInformationFormat "
    "LayerType MemoryPoolType NetworkDefinitionCreationFlag OnnxParser PreviewFeature ProfilingVerbosity Runtime "
    "TacticSource TensorIOMode",
}

SOMEWHERE = {
    # (class, member): (the one function that may touch it, the releases on which that line runs)
    ("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH"): ("network_flags", ("8.6",)),
    ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"): ("network_flags", ("10.16", RTX)),
    ("module", "TilingOptimizationLevel"): ("_set_tiling", ("10.16", "11.4", RTX)),
    ("IBuilderConfig", "tiling_optimization_level"): ("_set_tiling", ("10.16", "11.4", RTX)),
    ("module", "ComputeCapability"): ("_name_gpus", (RTX,)),
    ("IBuilderConfig", "num_compute_capabilities"): ("_name_gpus", (RTX,)),
    ("IBuilderConfig", "set_compute_capability"): ("_name_gpus", (RTX,)),
    ("Runtime", "get_engine_validity"): ("check_validity", (RTX,)),
    ("module", "EngineValidity"): ("check_validity", (RTX,)),
    ("EngineValidity", "INVALID"): ("check_validity", (RTX,)),
    ("module", "EngineInvalidityDiagnostics"): ("check_validity", (RTX,)),
    ("ICudaEngine", "create_runtime_config"): ("__init__", (RTX,)),
    ("module", "DynamicShapesKernelSpecializationStrategy"): ("__init__", (RTX,)),
    ("DynamicShapesKernelSpecializationStrategy", "EAGER"): ("__init__", (RTX,)),
    ("IRuntimeConfig", "dynamic_shapes_kernel_specialization_strategy"): ("__init__", (RTX,)),
    ("IRuntimeConfig", "cuda_graph_strategy"): ("__init__", (RTX,)),
    ("module", "CudaGraphStrategy"): ("__init__", (RTX,)),
    ("CudaGraphStrategy", "WHOLE_GRAPH_CAPTURE"): ("__init__", (RTX,)),
    ("IRuntimeConfig", "create_runtime_cache"): ("__init__", (RTX,)),
    ("IRuntimeConfig", "set_runtime_cache"): ("__init__", (RTX,)),
    ("IRuntimeCache", "deserialize"): ("__init__", (RTX,)),
    ("IRuntimeCache", "serialize"): ("keep", (RTX,)),
    ("ILayer", "precision"): ("pin_fp32_layers", ("8.6",)),
    ("ILayer", "set_output_type"): ("pin_fp32_layers", ("8.6",)),
    ("module", "IProgressMonitor"): ("_monitor", ("10.16", "11.4", RTX)),
    ("IProgressMonitor", "__init__"): ("_monitor", ("10.16", "11.4", RTX)),
    ("IProgressMonitor", "phase_start"): ("_monitor", ("10.16", "11.4", RTX)),
    ("IProgressMonitor", "phase_finish"): ("_monitor", ("10.16", "11.4", RTX)),
    ("IProgressMonitor", "step_complete"): ("_monitor", ("10.16", "11.4", RTX)),
    ("IBuilderConfig", "progress_monitor"): ("watch", ("10.16", "11.4", RTX)),
}


def recorded(release: str) -> dict[str, Any]:
    """Return the facts of one release, as ``facts.py`` printed them."""
    facts: dict[str, Any] = json.loads((RECORDED / f"tensorrt-{release}.json").read_text())
    return facts


def offers(facts: dict[str, Any], cls: str, member: str) -> str:
    """Return "ro" for what can only be read, "yes" for what else there is, "" for what there is not."""
    classes = facts["classes"]
    if cls == "module":
        return "yes" if member in classes else ""
    known = classes.get(cls, {})
    found = known.get("members", {}).get(member)
    if member in known.get("enum", {}):
        return "ro"
    return found if found == "ro" else "yes" if found is not None else ""


def merged() -> dict[str, Any]:
    """Return the classes of all releases together, for following types."""
    classes: dict[str, Any] = {}
    for release in MODULES:
        for name, parts in recorded(release)["classes"].items():
            for kind, members in parts.items():
                classes.setdefault(name, {}).setdefault(kind, {}).update(members)
    return classes
