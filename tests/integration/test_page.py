"""The real page: the installed command, Gradio's client, and a headless Chromium."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pytest

from fsr_deploy.images.codec import read_frame, write_frame
from fsr_deploy.images.resize import resize
from fsr_deploy.synthetic import faces
from tests.faces.detectors import write_centerface
from tests.integration.page_server import PATIENCE_SECONDS, Server, browser, demo

for needed in ("gradio", "gradio_client", "playwright", "av"):
    pytest.importorskip(needed, reason=f"{needed} is not installed; make integration has an environment with it")
pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "weights" / "aminet-tiny-faces.safetensors"
FACES, ONE_FACE = "faces in a picture", "one face"
LIMIT_BYTES = 100 << 20


def command(name: str, *words: object) -> None:
    call = (sys.executable, "-m", f"fsr_deploy.cli.{name}", *map(str, words))
    done = subprocess.run(call, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the trained tiny network, a detector that sees faces where it is red, pictures and a film."""
    folder = tmp_path_factory.mktemp("things")
    command("export", WEIGHTS, "--batch", "1", "-o", folder / "tiny")
    write_centerface(folder / "detector.onnx")
    face = resize(next(iter(faces(1, seed=20261, size=128))), (16, 16))
    write_frame(folder / "face.png", face)
    photo = np.full((120, 160, 3), 70, np.uint8)
    photo[60:64, 80:84] = (255, 0, 0)
    write_frame(folder / "photo.png", photo)
    (folder / "bad.png").write_bytes(b"words")
    for name, options in (("face", ()), ("photo", ("--find-faces", folder / "detector.onnx"))):
        command("run", folder / "tiny", folder / f"{name}.png", *options, "-o", folder / f"{name}_sr.png")
    return folder


@pytest.fixture(scope="module")
def server(things: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    detector = str(things / "detector.onnx")
    with demo(tmp_path_factory.mktemp("server"), str(things / "tiny"), "--find-faces", detector) as running:
        yield running


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Iterator[Any]:
    opened = visitor(server, tmp_path)
    yield opened
    opened.close()


def visitor(server: Server, folder: Path) -> Any:
    from gradio_client import Client

    return Client(server.url, verbose=False, download_files=folder)


def given(path: Path) -> Any:
    from gradio_client import handle_file

    return handle_file(path)


def wait_until_no_files(server: Server) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while server.files and time.monotonic() < end:
        time.sleep(0.2)
    assert server.files == []


def saved(update: Any) -> bytes:
    """Return the file behind the button that saves the picture."""
    return Path(update["value"] if isinstance(update, dict) else update).read_bytes()


@pytest.mark.parametrize(("name", "kind"), [("face", ONE_FACE), ("photo", FACES)])
def test_a_visitor_gets_what_fsr_run_makes_to_the_byte(client: Any, things: Path, name: str, kind: str) -> None:
    slider, button, report = client.predict(given(things / f"{name}.png"), kind, False, api_name="/picture")
    expected = (things / f"{name}_sr.png").read_bytes()
    assert saved(button) == expected
    assert Path(slider[1]).read_bytes() == expected
    assert read_frame(slider[0]).shape == read_frame(slider[1]).shape
    assert " ms a face" in report or " s a face" in report


def test_a_bad_picture_is_a_message_in_the_page(client: Any, things: Path) -> None:
    slider, _, report = client.predict(given(things / "bad.png"), FACES, False, api_name="/picture")
    assert slider is None
    assert "bad.png: not a PNG, JPEG" in report and "/" not in report.replace("</div>", "")


def test_visitors_who_come_together_wait_for_each_other(server: Server, things: Path, tmp_path: Path) -> None:
    visitors = [visitor(server, tmp_path / str(number)) for number in range(3)]
    jobs = [
        one.submit(given(things / f"{name}.png"), kind, False, api_name="/picture")
        for one, (name, kind) in zip(visitors, [("face", ONE_FACE), ("photo", FACES), ("face", ONE_FACE)], strict=True)
    ]
    results = [saved(job.result(PATIENCE_SECONDS)[1]) for job in jobs]
    face, photo = ((things / f"{name}_sr.png").read_bytes() for name in ("face", "photo"))
    assert results == [face, photo, face]
    for one in visitors:
        one.close()


def test_a_film_comes_back_with_all_its_frames(client: Any, tmp_path: Path) -> None:
    from fsr_deploy.films.survey import survey
    from tests.films.drawn import draw

    film, report = client.predict(given(draw(tmp_path / "film.mp4")), api_name="/film")
    made = survey(Path(film["video"] if isinstance(film, dict) else film))
    assert (len(made.times), made.upright) == (20, (128, 128))
    assert "20 of 20, 128x128 pixels" in report and "a frame" in report


def test_a_file_over_the_limit_is_not_taken(client: Any, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as stream:
        stream.truncate(LIMIT_BYTES + 1)
    with pytest.raises(Exception, match=r"(?i)413|exceeds|too large"):
        client.predict(given(path), FACES, False, api_name="/picture")


def test_the_page_fetches_nothing_and_gives_away_no_file_of_the_machine(
    server: Server, client: Any, things: Path
) -> None:
    for address in ("https://192.0.2.1/face.png", f"{server.url}/favicon.ico"):
        sent = {"path": address, "meta": {"_type": "gradio.FileData"}}
        with pytest.raises(Exception, match="This page takes files, not addresses"):
            client.predict(sent, FACES, False, api_name="/picture")
    for path in (things / "tiny" / "bundle.json", Path("/etc/passwd")):
        with pytest.raises(HTTPError, match=r"40[34]"):
            urllib.request.urlopen(f"{server.url}/gradio_api/file={path}")


def test_nothing_stays_when_the_visitors_are_gone(server: Server, things: Path, tmp_path: Path) -> None:
    one = visitor(server, tmp_path)
    one.predict(given(things / "face.png"), ONE_FACE, True, api_name="/picture")
    assert any("face_sr.png" in path for path in server.files)
    one.close()
    wait_until_no_files(server)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        if opened is None:
            pytest.skip("no Chromium: neither playwright's (playwright install chromium) nor one on the PATH")
        yield opened


def test_a_picture_dropped_into_a_browser_is_shown_before_and_after(
    server: Server, things: Path, chromium: Any, tmp_path: Path
) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    foreign: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request", lambda one: None if one.url.startswith((server.url, "data:", "blob:")) else foreign.append(one.url)
    )
    page.goto(server.url)
    page.get_by_text(ONE_FACE, exact=True).click()
    page.locator("input[type=file]").first.set_input_files(things / "face.png")
    page.wait_for_selector(".fsr-facts")
    assert "taken as one face" in page.inner_text(".fsr-facts")
    assert "Parity with the network in PyTorch" in page.inner_text(".fsr-head")
    shown = page.locator("img[src*='face_sr.png']").first
    shown.wait_for()
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") == 128
    with page.expect_download() as download:
        page.get_by_text("Save the picture").click()
    assert Path(download.value.path()).read_bytes() == (things / "face_sr.png").read_bytes()
    page.screenshot(path=tmp_path / "page.png")
    seen = read_frame(tmp_path / "page.png")
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 2000, "a picture is on the page"
    page.close()
    assert (errors, foreign) == ([], [])
    wait_until_no_files(server)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_page_at_once_and_nothing_is_left(
    things: Path, chromium: Any, tmp_path: Path, number: signal.Signals
) -> None:
    with demo(tmp_path / "server", str(things / "tiny")) as running:
        page = chromium.new_page()
        page.goto(running.url)
        page.locator("input[type=file]").first.set_input_files(things / "face.png")
        page.wait_for_selector(".fsr-facts")
        assert running.files != []
        assert running.end(number) == 0, running.log
        page.close()
    assert running.files == [] and list((running.folder / "tmp").glob("fsr-demo-*")) == []
    assert running.log.splitlines()[-1] == "closing the page"
