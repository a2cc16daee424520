"""Runs on faces that are on the GPU already: from one library's array to another's, nothing copied."""

from __future__ import annotations

from typing import Any

from fsr_deploy.errors import InputError
from fsr_deploy.runtime import cuda
from fsr_deploy.runtime.device_array import DeviceArray, View, view
from fsr_deploy.runtime.tensorrt_engine import Engine
from fsr_deploy.runtime.tensorrt_lane import Context
from fsr_deploy.runtime.tensorrt_library import forget


class OnDevice:
    """A stream and a context of their own, so that a session's lanes keep their graphs."""

    def __init__(self, engine: Engine, device: int) -> None:
        self._engine = engine
        self._device = device
        self._stream = cuda.Stream()
        self._arrived, self._done = cuda.Event(), cuda.Event()
        self._context = Context(engine, self._stream)

    def upscale(self, faces: Any, stream: int, out: Any) -> Any:
        """Do ``TensorRTSession.upscale_on_device``; all is enqueued when this returns."""
        source = view(faces, stream, self._device)
        self._engine.check_input(source.shape, source.dtype)
        if out is None:
            output = self._engine.output
            out = DeviceArray((source.shape[0], *output.shape), output.dtype, self._device, stream)
        target = view(out, stream, self._device)
        self._check_output(target, source.shape[0])
        for producer in {stream, source.stream or stream, target.stream or stream}:
            self._arrived.record(producer)
            self._stream.wait_for(self._arrived)
        self._run(source, target)
        self._done.record(self._stream.handle)
        cuda.wait_in(stream, self._done)
        if isinstance(out, DeviceArray):
            out.ready.record(stream)
        return out

    def close(self) -> None:
        """Wait for what runs and free everything."""
        for resource in (self._context, self._arrived, self._done, self._stream):
            resource.close()

    def _run(self, source: View, target: View) -> None:
        batch = source.shape[0]
        profile = self._engine.profile_for(batch)
        if batch < profile.min:
            raise InputError(f"{self._engine.path}: a batch of {batch}; this plan takes at least {profile.min}")
        forget()
        self._context.prepare(batch, profile, source.address, target.address)
        self._context.run()

    def _check_output(self, target: View, batch: int) -> None:
        expected = self._engine.output
        if target.dtype != expected.dtype or target.shape != (batch, *expected.shape):
            wanted = f"{expected.dtype} {(batch, *expected.shape)}"
            raise InputError(f"an output array of {target.dtype} {target.shape}; this batch gives {wanted}")
