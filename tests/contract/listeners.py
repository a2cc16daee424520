"""Make our listeners with a real binding and call them as TensorRT does; prints the name of each that works."""

from __future__ import annotations

import sys

import tensorrt_bindings as trt

sys.modules["tensorrt"] = trt

from fsr_deploy.exporting.tensorrt.progress import _monitor  # noqa: E402
from fsr_deploy.runtime.tensorrt.layer_times import _profiler  # noqa: E402
from fsr_deploy.runtime.tensorrt.library import load, log, operation, said, warnings  # noqa: E402

assert load() is trt

logger = log()
assert isinstance(logger, trt.ILogger)
with operation():
    logger.log(trt.ILogger.Severity.INFO, "unheard")
    logger.log(trt.ILogger.Severity.WARNING, "a warning")
    assert warnings() == ("a warning",)
    logger.log(trt.ILogger.Severity.ERROR, "[engine.cpp]\n a reason")
    assert said() == "[engine.cpp] a reason", said()
assert said() == "TensorRT gave no reason"
print("logger")

profiler = _profiler()
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
