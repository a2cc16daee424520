"""OpenCV, set up before it is loaded; everything here imports ``cv2`` from this module."""

from __future__ import annotations

import os
from typing import Any

MAX_PIXELS = 1 << 27
# A second limit after header.py: OpenCV refuses what a header hid from us. OpenCV reads it once, at import.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))

import cv2  # noqa: E402

# A damaged file is reported by the error raised in codec.py, with its name; OpenCV's own lines have none.
_set_log_level: Any = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # moved in OpenCV 5
_set_log_level(0)

__all__ = ["MAX_PIXELS", "cv2"]
