"""Runs on faces that are on the GPU already: from one library's array to another's, nothing copied."""

from __future__ import annotations

from collections import deque
from typing import Any

from fsr_deploy.errors import InputError
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda.arrays import Blocks, DeviceArray
from fsr_deploy.runtime.cuda.foreign_array import View, view
from fsr_deploy.runtime.tensorrt.engine import Engine
from fsr_deploy.runtime.tensorrt.lane import Context


class OnDevice:
    """A stream and a context of their own, so that a session's lanes keep their graphs."""

    def __init__(self, engine: Engine, device: int) -> None:
        self._engine = engine
        self._device = device
        self._stream = cuda.Stream()
        self._arrived = cuda.Event()
        self._context = Context(engine, self._stream)
        self._blocks = Blocks()
        self._in_use: deque[tuple[cuda.Event, list[Any]]] = deque()
        self._spare: list[cuda.Event] = []

    def upscale(self, faces: Any, stream: int, out: Any) -> Any:
        """Do ``TensorRTSession.upscale_on_device``; all is enqueued when this returns."""
        self._drop_what_is_done()
        source = view(faces, stream, self._device)
        self._engine.check_input(source.shape, source.dtype)
        if out is None:
            output = self._engine.output
            shape = (source.shape[0], *output.shape)
            out = DeviceArray(shape, output.dtype, self._device, stream, self._blocks)
        target = view(out, stream, self._device)
        self._check_output(target, source)
        streams = {stream, source.stream or stream, target.stream or stream}
        for producer in streams:
            self._arrived.record(producer)
            self._stream.wait_for(self._arrived)
        self._run(source, target)
        done = self._keep_until_done(source, target)
        for reader in streams:  # what changes the arrays next, in any of them, comes after this run
            cuda.wait_in(reader, done)
        if isinstance(out, DeviceArray):
            out.ready.record(stream)
        return out

    def close(self) -> None:
        """Wait for what runs and free everything."""
        self._context.close()
        self._drop_what_is_done()
        self._blocks.close()
        for event in (*self._spare, self._arrived):
            event.close()
        self._stream.close()

    def _run(self, source: View, target: View) -> None:
        batch = source.shape[0]
        profile = self._engine.profile_for(batch)
        if batch < profile.min:
            raise InputError(f"{self._engine.path}: a batch of {batch}; this plan takes at least {profile.min}")
        self._context.prepare(batch, profile, source.address, target.address)
        self._context.run()

    def _keep_until_done(self, *views: View) -> cuda.Event:
        """Keep others' arrays until the GPU is done with them; returns the mark of that.

        Their libraries know nothing of this stream: dropped now, their memory could be given to somebody else.
        """
        done = self._spare.pop() if self._spare else cuda.Event()
        done.record(self._stream.handle)
        self._in_use.append((done, [v.owner for v in views if not isinstance(v.owner, DeviceArray)]))
        return done

    def _drop_what_is_done(self) -> None:
        while self._in_use and self._in_use[0][0].reached():
            self._spare.append(self._in_use.popleft()[0])

    def _check_output(self, target: View, source: View) -> None:
        expected, batch = self._engine.output, source.shape[0]
        if target.dtype != expected.dtype or target.shape != (batch, *expected.shape):
            wanted = f"{expected.dtype} {(batch, *expected.shape)}"
            raise InputError(f"an output array of {target.dtype} {target.shape}; this batch gives {wanted}")
        if target.read_only:
            raise InputError(f"{type(target.owner).__name__}: an output array that is read-only")
        if target.overlaps(source):
            raise InputError("an output array that shares memory with the faces; give one of its own")
