"""The signature of a bundle, by OpenSSF model-signing with an EC key: a file in it that covers all others.

It holds the names and the SHA-256 of all files, ``bundle.json`` included. No server takes part: whoever has the public
key can check it, with fsr-deploy or with the ``model_signing`` command.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from fsr_deploy._util.files import file_sha256, is_folder, read_file, status, write_file
from fsr_deploy._util.imports import load
from fsr_deploy._util.json_records import read_json
from fsr_deploy.bundle.info import INFO_NAME, SBOM_NAME, SIGNATURE_NAME, Bundle, place, read_bundle
from fsr_deploy.errors import InputError

PASSWORD = "FSR_SIGN_PASSWORD"  # the environment variable with the password of an encrypted key
KEYS = "an EC key (P-256, P-384, P-521) in PEM"
NAMED = 3  # so many files are named in one message


def sign(bundle: str | os.PathLike[str] | Bundle, key: str | os.PathLike[str]) -> Path:
    """Sign a bundle with a private EC key, a PEM file; returns the signature's path. An older signature is replaced.

    The password of an encrypted key is taken from the environment, FSR_SIGN_PASSWORD. Raises InputError for a bundle
    that is damaged or holds files that are not its own, and for a key that cannot be used; MissingError without the
    extra ``sign``.
    """
    signer = open_key(Path(key))
    found = read_bundle(place(bundle))
    for name in found.info.files:
        found.file(name)  # a damaged bundle is not signed
    own = {*found.info.files, INFO_NAME, SBOM_NAME, SIGNATURE_NAME}
    if others := sorted(path.name for path in found.path.iterdir() if path.name not in own):
        raise InputError(f"{found.path / others[0]}: not a file of the bundle; move it away, then sign")
    directory = Path(os.path.realpath(found.path))
    with tempfile.TemporaryDirectory() as folder:  # in the bundle, an unfinished file would be among those signed
        signer.set_hashing_config(_hashing()).sign(directory, Path(folder, SIGNATURE_NAME))
        write_file(directory / SIGNATURE_NAME, Path(folder, SIGNATURE_NAME).read_bytes())
    return found.path / SIGNATURE_NAME


def open_key(key: Path) -> Any:
    """Return model-signing's configuration with a private key; raises InputError for a key that cannot be used."""
    signing = load("model_signing").signing
    read_file(key)  # for the sentence about a file that is not there
    password = os.environ.get(PASSWORD)
    try:
        return signing.Config().use_elliptic_key_signer(
            private_key=key, password=password.encode() if password else None
        )
    except Exception as error:  # of several libraries, by what the file holds
        hint = f"set {PASSWORD}" if "encrypted" in str(error) else f"give {KEYS}"
        raise InputError(f"{key}: cannot be used as a private key: {error}; {hint}") from error


def verify(engine: str | os.PathLike[str] | Bundle, public_key: str | os.PathLike[str]) -> None:
    """Check the signature of a bundle, or of the one that a file belongs to, before anything of it is loaded.

    ``public_key`` is a PEM file. Raises InputError that names the file which was changed, added or removed since, or
    the signature where it is missing or not by this key; MissingError without the extra ``sign``.
    """
    verifying = load("model_signing").verifying
    named, key = place(engine), Path(public_key)
    bundle = named if is_folder(named) else named.parent
    signature = bundle / SIGNATURE_NAME
    read_file(key)
    if not status(named):
        raise InputError(f"{named}: no such file; name a bundle, an engine.plan or a model.onnx")
    if not status(signature):
        raise InputError(
            f"{signature}: no such file, the bundle is not signed; fsr-export --bundle DIR --sign KEY signs"
        )
    try:
        checker = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except Exception as error:  # of several libraries, by what the file holds
        raise InputError(f"{key}: cannot be used as a public key: {error}; give {KEYS}") from error
    refused: Exception | None = None
    try:
        checker.set_hashing_config(_hashing()).verify(Path(os.path.realpath(bundle)), signature)
    except Exception as error:  # whatever keeps a signature from being checked, the bundle is not to be used
        refused = error
    # Also where it is accepted: model-signing leaves out the files that a signature says are to be left out.
    if faults := _differences(bundle, _signed_files(signature)):
        more = f"; and {len(faults) - NAMED} more files" if len(faults) > NAMED else ""
        raise InputError("; ".join(faults[:NAMED]) + more)
    if refused is not None:
        raise InputError(f"{signature}: not made with the private key of {key}, or changed since") from refused


def _hashing() -> Any:
    """Return how files are hashed: all but the signature; git's too, which model-signing would leave out."""
    return load("model_signing").hashing.Config().set_ignored_paths(paths=[SIGNATURE_NAME], ignore_git_paths=False)


def _signed_files(signature: Path) -> dict[str, str]:
    """Return the names and SHA-256 in a signature, which need not be genuine; raises InputError where it has none."""
    try:
        statement = json.loads(base64.b64decode(read_json(signature)["dsseEnvelope"]["payload"]))
        resources = statement["predicate"]["resources"]
        return {one["name"]: one["digest"] for one in resources if one["algorithm"] == "sha256"}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{signature}: not a signature by model-signing, or damaged; sign the bundle again") from error


def _differences(bundle: Path, signed: dict[str, str]) -> list[str]:
    """Return a sentence for each file that is not as it was signed."""
    directory = Path(os.path.realpath(bundle))
    found = {path.relative_to(directory).as_posix(): path for path in sorted(directory.rglob("*"))}
    found.pop(SIGNATURE_NAME)
    faults = [f"{bundle / name}: removed since the bundle was signed" for name in sorted(set(signed) - set(found))]
    for name, path in found.items():
        if path.is_symlink():
            faults.append(f"{bundle / name}: a symbolic link; a bundle holds its files themselves")
        elif path.is_file() and name not in signed:
            faults.append(f"{bundle / name}: added since the bundle was signed")
        elif path.is_file() and file_sha256(path) != signed[name]:
            faults.append(f"{bundle / name}: changed since the bundle was signed")
    return faults
