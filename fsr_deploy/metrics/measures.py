"""Which measures this machine can compute, and what the others need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from fsr_deploy._util.sizes import Size, as_shape
from fsr_deploy.errors import InputError, MissingError
from fsr_deploy.metrics import fid, identity, lpips, niqe
from fsr_deploy.metrics.pixel import Measure, basic_measures

Loader = Callable[[Path, torch.device], Measure]
# Measures with weights: the files under their published names, and the function that makes the measure.
OPTIONAL: dict[str, tuple[tuple[str, ...], Loader]] = {
    "LPIPS": (lpips.FILES, lpips.load_lpips),
    "FID": (fid.FILES, fid.load_fid),
    "NIQE": (niqe.FILES, lambda folder, device: niqe.load_niqe(folder)),
    "identity cosine": (identity.FILES, identity.load_identity),
}


def find_measures(folder: Path | None, size: Size, device: torch.device) -> tuple[list[Measure], dict[str, str]]:
    """Return the measures for faces of ``size`` with the weights of a folder, and what the others need. Raises
    InputError for weights of something else and for a missing folder.
    """
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder}: no such folder; --weights names the one with the weights of LPIPS, FID ...")
    measures, wanted = basic_measures(), {}
    for name, (files, load) in OPTIONAL.items():
        missing = [file for file in files if folder is None or not (folder / file).is_file()]
        if missing:
            wanted[name] = f"{' and '.join(missing)} in {folder or 'the folder that --weights names'}"
            continue
        assert folder is not None
        try:
            measures.append(load(folder, device))
        except MissingError as error:
            wanted[name] = str(error)
    for measure in measures:
        if min(as_shape(size)) < measure.smallest:
            wanted[measure.name] = f"faces of at least {measure.smallest}x{measure.smallest} pixels"
    return [measure for measure in measures if measure.name not in wanted], wanted
