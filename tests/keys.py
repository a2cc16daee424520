"""EC key pairs for tests, as OpenSSL writes them."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PEM = serialization.Encoding.PEM


def write_keys(folder: Path, name: str = "key", password: bytes | None = None) -> tuple[Path, Path]:
    """Write a pair of P-256 keys into a folder; returns the private and the public one."""
    return _write(folder, name, ec.generate_private_key(ec.SECP256R1()), password)


def write_rsa_keys(folder: Path) -> tuple[Path, Path]:
    """Write a pair of keys that sign nothing here."""
    return _write(folder, "rsa", rsa.generate_private_key(65537, 2048), None)


def _write(
    folder: Path, name: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: bytes | None
) -> tuple[Path, Path]:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, lock))
    public.write_bytes(key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public
