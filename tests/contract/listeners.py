"""Make our listeners with a real binding and call them as TensorRT does; prints the name of each that works."""

from __future__ import annotations

import importlib
import sys

trt = importlib.import_module(sys.argv[1])  # tensorrt_bindings or tensorrt_rtx
sys.modules.setdefault("tensorrt", trt)

from fsr_deploy.exporting.tensorrt.progress import _monitor  # noqa: E402
from fsr_deploy.runtime.tensorrt.flavour import flavour_of  # noqa: E402
from fsr_deploy.runtime.tensorrt.layer_times import _profiler  # noqa: E402
from fsr_deploy.runtime.tensorrt.library import load, log, operation, said, warnings  # noqa: E402

flavour = flavour_of(trt)
assert load(flavour) is trt

logger = log(flavour)
assert isinstance(logger, trt.ILogger)
noted: list[str] = []
with operation(noted.append):
    logger.log(trt.ILogger.Severity.INFO, "Layers:\n a kernel")
    assert noted == ["Layers:\n a kernel"]
    logger.log(trt.ILogger.Severity.WARNING, "a warning")
    assert warnings() == ("a warning",)
    logger.log(trt.ILogger.Severity.ERROR, "[engine.cpp]\n a reason")
    assert said() == "[engine.cpp] a reason", said()
assert said() == "TensorRT gave no reason"
print("logger")

profiler = _profiler(flavour)
assert isinstance(profiler, trt.IProfiler)
profiler.report_layer_time("enc1/Conv_3", 2.0)
assert profiler.times == [("enc1/Conv_3", 0.002)]
print("profiler")

monitor = _monitor(trt)
assert isinstance(monitor, trt.IProgressMonitor)
monitor.phase_start("Building Engine", None, 3)
assert monitor.step_complete("Building Engine", 0)
monitor.phase_finish("Building Engine")
print("monitor")
