"""Pillow, set up as it is loaded; everything that holds whole pictures in it imports it from this module.

Some functions import it inside, so that a command's --help does not wait for it.
"""

from __future__ import annotations

import logging
import warnings

from PIL import Image, ImageCms, ImageOps

# As with OpenCV: a damaged file is reported by the error that we raise, with its name; Pillow's lines have no name.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)

# Pillow keeps a picture in blocks of 16 MiB. The allocator keeps freed blocks of that size for the thread that used
# them, for each thread separately. Blocks of more than 32 MiB go back to the system.
Image.core.set_block_size(256 << 20)

__all__ = ["Image", "ImageCms", "ImageOps"]
