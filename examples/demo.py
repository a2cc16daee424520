"""The main task from end to end, with the commands that a user would type: export, run, look.

python examples/demo.py FOLDER
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

from fsr_deploy.images.codec import read_frame, write_frame
from fsr_deploy.images.face_table import face_table
from fsr_deploy.images.resize import resize
from fsr_deploy.synthetic import faces, write_faces

WEIGHTS = Path(__file__).parents[1] / "weights" / "aminet-tiny-faces.safetensors"
FRAMES, HELD_OUT_SEED, SHOWN = 64, 20261, 4


def main(folder: Path) -> None:
    """Export a small trained AMINet, upscale a folder of frames with it and draw the result."""
    lr = folder / "lr"
    write_faces(lr, FRAMES, lr_size=16, seed=HELD_OUT_SEED)  # of a seed that training never saw
    bundle, sr = folder / "aminet-tiny-fp16", folder / "sr"
    command("fsr-export", WEIGHTS, "--fp16", "-o", bundle)
    command("fsr-run", bundle, lr, "-o", sr)
    picture = folder / "result.png"
    write_frame(picture, draw(lr, sr))
    print(f"\n{picture}: LR | bicubic | SR | HR (drawn faces that the network has not seen)")
    print(f"{bundle / 'report.html'}: what was exported and how it was proven")


def command(name: str, *arguments: object) -> None:
    """Run one of the installed commands, shown as it would be typed; stop with its exit code if it fails."""
    words = [name, *map(str, arguments)]
    print(f"\n$ {shlex.join(words)}", flush=True)
    code = subprocess.run([Path(sys.executable).with_name(name), *words[1:]], check=False).returncode
    if code:
        sys.exit(code)


def draw(lr_folder: Path, sr_folder: Path) -> np.ndarray:
    """Return the first faces as a table of LR | bicubic | SR | HR."""
    names = [path.name for path in sorted(lr_folder.glob("*.png"))[:SHOWN]]
    lr = np.stack([read_frame(lr_folder / name) for name in names])
    sr = np.stack([read_frame(sr_folder / name) for name in names])
    bicubic = np.stack([resize(face, (128, 128)) for face in lr])
    hr = np.stack(list(faces(SHOWN, HELD_OUT_SEED)))
    columns = {"LR 16x16": lr, "bicubic": bicubic, "SR by fsr-run": sr, "HR (the truth)": hr}
    return face_table(columns, "aminet-tiny, a small AMINet trained on drawn faces; these faces it has not seen")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
