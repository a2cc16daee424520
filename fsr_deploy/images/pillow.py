"""Pillow, set up as it is loaded; everything that holds whole pictures in it imports it from this module.

Where it is imported inside of a function, that is so that a command's --help need not wait for it.
"""

from __future__ import annotations

import logging
import warnings

from PIL import Image, ImageCms, ImageOps

# As of OpenCV's: a damaged file is reported by the error that is raised, with its name; Pillow's own lines have none.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)

# Pillow keeps a picture in blocks of 16 MiB. Those of a large one are freed into the allocator's stock of the thread
# that had them, a stock for each thread; blocks of more than 32 MiB go back to the system.
Image.core.set_block_size(256 << 20)

__all__ = ["Image", "ImageCms", "ImageOps"]
