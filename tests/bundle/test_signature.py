"""A signature covers every file of a bundle; whatever is not as it was signed is named and refused."""

from __future__ import annotations

import base64
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import model_signing
import pytest

from fsr_deploy.bundle.signature import sign, verify
from fsr_deploy.errors import InputError
from tests.fakes.plans import write_bundle
from tests.keys import write_keys, write_rsa_keys


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a signature with a key needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a signed bundle, "tiny", and its keys; not to be changed."""
    folder = tmp_path_factory.mktemp("signed")
    write_bundle(folder / "tiny")
    sign(folder / "tiny", write_keys(folder)[0])
    return folder


@pytest.fixture
def bundle(signed: Path, tmp_path: Path) -> Path:
    shutil.copytree(signed, tmp_path, dirs_exist_ok=True)
    return tmp_path / "tiny"


@pytest.fixture
def key(bundle: Path) -> Path:
    return bundle.parent / "key.pub"


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_bundle_that_is_as_it_was_signed_is_accepted(bundle: Path, key: Path) -> None:
    verify(bundle, key)
    verify(bundle / "model.onnx", key)


def test_its_place_and_its_name_are_not_signed(bundle: Path, key: Path) -> None:
    bundle.rename(bundle.with_name("moved"))
    (bundle.parent / "current").symlink_to("moved")
    verify(bundle.parent / "current", key)


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx", "reference.npz"])
def test_a_file_with_one_byte_changed_is_named(bundle: Path, key: Path, name: str) -> None:
    change_a_byte(bundle / name)
    with pytest.raises(InputError) as caught:
        verify(bundle, key)
    assert str(caught.value) == f"{bundle / name}: changed since the bundle was signed"


def test_a_signature_with_one_byte_changed_is_named(bundle: Path, key: Path) -> None:
    text = json.loads((bundle / "model.sig").read_text())
    content = bytearray(base64.b64decode(text["dsseEnvelope"]["signatures"][0]["sig"]))
    content[-1] ^= 1
    text["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(content).decode()
    (bundle / "model.sig").write_text(json.dumps(text))
    with pytest.raises(InputError, match=r"model\.sig: not made with the private key of .*key\.pub, or changed since"):
        verify(bundle, key)


def rewritten(bundle: Path) -> None:
    """Let the list of files in the signature fit files that were changed, as a forger would."""
    change_a_byte(bundle / "model.onnx")
    shutil.copyfile(bundle / "model.sig", bundle.parent / "old.sig")
    sign_as_it_is(bundle, write_keys(bundle.parent, "other")[0])
    old, new = (json.loads(path.read_text()) for path in (bundle.parent / "old.sig", bundle / "model.sig"))
    old["dsseEnvelope"]["payload"] = new["dsseEnvelope"]["payload"]
    (bundle / "model.sig").write_text(json.dumps(old))


def by_another_key(bundle: Path) -> None:
    sign(bundle, write_keys(bundle.parent, "other")[0])


def sign_as_it_is(bundle: Path, key: Path, *ignored: str) -> None:
    """Sign as the command of model-signing does: whatever is there, but for what it was told to leave out."""
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=["model.sig", *ignored])
    signing = model_signing.signing.Config().use_elliptic_key_signer(private_key=key)
    signing.set_hashing_config(hashing).sign(bundle, bundle / "model.sig")


def without_the_record(bundle: Path) -> None:
    sign_as_it_is(bundle, bundle.parent / "key.pem", "bundle.json")


def add(name: str) -> Callable[[Path], None]:
    def do(bundle: Path) -> None:
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_text("new")

    return do


def link(bundle: Path) -> None:
    (bundle / "model.onnx").rename(bundle.parent / "model.onnx")
    (bundle / "model.onnx").symlink_to(bundle.parent / "model.onnx")


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "removed": (lambda bundle: (bundle / "model.onnx").unlink(), "tiny/model.onnx: removed since the bundle was"),
    "added": (add("engine.plan"), "tiny/engine.plan: added since the bundle was signed"),
    "added, hidden": (add(".gitignore"), "tiny/.gitignore: added since the bundle was signed"),
    "added in a folder": (add(".git/hook"), "tiny/.git/hook: added since the bundle was signed"),
    "a link": (link, "tiny/model.onnx: a symbolic link; a bundle holds its files themselves"),
    "not signed": (lambda bundle: (bundle / "model.sig").unlink(), "tiny/model.sig: no such file, the bundle is not"),
    "another key": (by_another_key, "tiny/model.sig: not made with the private key of"),
    "a forged list": (rewritten, "tiny/model.sig: not made with the private key of"),
    "a file left out": (without_the_record, "tiny/bundle.json: added since the bundle was signed"),
    "no JSON": (lambda bundle: (bundle / "model.sig").write_text("{"), "tiny/model.sig: not JSON that can be read"),
    "no signature": (lambda bundle: (bundle / "model.sig").write_text("[1]"), "not a signature by model-signing"),
    "nested": (lambda bundle: (bundle / "model.sig").write_text("[" * 99999), "nested too deeply"),
    "a folder": (
        lambda bundle: ((bundle / "model.sig").unlink(), (bundle / "model.sig").mkdir()),
        "tiny/model.sig: not a regular file",
    ),
}


@pytest.mark.parametrize(("do", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bundle_that_is_not_as_it_was_signed_is_refused(
    bundle: Path, key: Path, do: Callable[[Path], Any], message: str
) -> None:
    do(bundle)
    with pytest.raises(InputError) as caught:
        verify(bundle, key)
    assert message in str(caught.value)


def test_a_bundle_that_is_not_there_is_not_called_unsigned(bundle: Path, key: Path) -> None:
    with pytest.raises(InputError, match=r"no\.onnx: no such file; name a bundle"):
        verify(bundle / "no.onnx", key)


def test_of_many_files_the_first_are_named_and_the_others_counted(bundle: Path, key: Path) -> None:
    for name in ("a", "b", "c", "d", "e"):
        (bundle / name).touch()
    with pytest.raises(InputError, match=r"/a: added .*/b: added .*/c: added .*; and 2 more files$"):
        verify(bundle, key)


def test_model_signing_itself_accepts_the_signature(bundle: Path, key: Path) -> None:
    verifying = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=key)
    verifying.verify(bundle, bundle / "model.sig")


def test_an_older_signature_is_replaced(bundle: Path) -> None:
    private, public = write_keys(bundle.parent, "new")
    sign(bundle, private)
    verify(bundle, public)


UNSIGNED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "damaged": (lambda bundle: change_a_byte(bundle / "model.onnx"), "model.onnx: its SHA-256 is not the one in"),
    "a file too many": (add("notes.txt"), "tiny/notes.txt: not a file of the bundle; move it away, then sign"),
    "no bundle": (lambda bundle: (bundle / "bundle.json").unlink(), "tiny: no bundle.json here"),
}


@pytest.mark.parametrize(("do", "message"), UNSIGNED.values(), ids=UNSIGNED.keys())
def test_only_a_bundle_that_is_whole_is_signed(bundle: Path, do: Callable[[Path], Any], message: str) -> None:
    before = (bundle / "model.sig").read_bytes()
    do(bundle)
    with pytest.raises(InputError) as caught:
        sign(bundle, bundle.parent / "key.pem")
    assert message in str(caught.value)
    assert (bundle / "model.sig").read_bytes() == before


def test_the_password_of_a_key_comes_from_the_environment(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = write_keys(bundle.parent, "locked", b"secret")
    with pytest.raises(InputError, match=r"locked\.pem: cannot be used as a private key: .*; set FSR_SIGN_PASSWORD"):
        sign(bundle, private)
    monkeypatch.setenv("FSR_SIGN_PASSWORD", "secret")
    sign(bundle, private)
    verify(bundle, public)


def test_keys_that_are_none_are_named(bundle: Path, key: Path) -> None:
    rsa_private, rsa_public = write_rsa_keys(bundle.parent)
    needed = r"; give an EC key \(P-256, P-384, P-521\) in PEM"
    for wrong in (key, rsa_private):
        with pytest.raises(InputError, match=rf"{wrong.name}: cannot be used as a private key: .*{needed}"):
            sign(bundle, wrong)
    for wrong in (bundle.parent / "key.pem", rsa_public):
        with pytest.raises(InputError, match=rf"{wrong.name}: cannot be used as a public key: .*{needed}"):
            verify(bundle, wrong)
    for missing in (lambda: sign(bundle, "no.pem"), lambda: verify(bundle, "no.pem")):
        with pytest.raises(InputError, match=r"no\.pem: cannot be read: No such file or directory"):
            missing()
