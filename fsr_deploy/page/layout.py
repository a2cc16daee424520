"""The page in Gradio: what is on it, and what happens when it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from fsr_deploy._util.log import reporting, to_callback
from fsr_deploy.errors import FsrError, MissingError
from fsr_deploy.films.library import av
from fsr_deploy.images.codec import write_frame
from fsr_deploy.page import words
from fsr_deploy.page.studio import Studio, problem
from fsr_deploy.page.visits import Visits

FACES, ONE_FACE = "faces in a picture", "one face"
CSS = """
.fsr-head h1 { font-size: 1.5rem; font-weight: 650; margin: 0 0 .25rem }
.fsr-head p { margin: 0; color: var(--body-text-color-subdued) }
.fsr-bad { color: var(--error-text-color); background: var(--error-background-fill); padding: .75rem 1rem;
  border-radius: var(--radius-lg) }
.fsr-facts { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.5rem; margin: 0 0 .75rem }
.fsr-facts dt { font-weight: 600 }
.fsr-facts dd { margin: 0; font-variant-numeric: tabular-nums }
"""


def build(studio: Studio, visits: Visits) -> Any:
    """Return the page of an engine, a gradio.Blocks that has not been launched."""
    kept = studio.limits.kept_seconds
    with gr.Blocks(
        title=f"{studio.info.model}: fsr-demo", analytics_enabled=False, delete_cache=(60, kept), fill_width=True
    ) as page:
        gr.HTML(words.head(studio.info, studio.session.info))
        with gr.Tab("Picture"):
            _picture_tab(studio, visits)
        with gr.Tab("Film"):
            _film_tab(studio, visits)
        gr.HTML(f"<small>{studio.limits} Everything is removed when you close this page.</small>")

        def leave(request: gr.Request) -> None:
            visits.leave(str(request.session_hash))

        page.unload(leave)
    # One at a time: visitors share the engine, the others wait in the order in which they came.
    page.queue(max_size=studio.limits.waiting, default_concurrency_limit=1)
    return page


def _picture_tab(studio: Studio, visits: Visits) -> None:
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            given = gr.Image(label="Drop a picture here", type="filepath", sources=["upload", "clipboard"], height=260)
            given.preprocess = _path_of  # Gradio's own opens the file: our decoder has limits and says what is wrong
            given.async_move_resource_to_block_cache = _refuse_addresses
            kind = gr.Radio(
                [FACES, ONE_FACE],
                value=FACES if studio.finder else ONE_FACE,
                label="It shows",
                visible=bool(studio.finder),
            )
            boxes = gr.Checkbox(label="Draw boxes around the faces", visible=bool(studio.finder))
            gr.HTML(_what_happens(studio))
            report = gr.HTML()
        with gr.Column(scale=2, min_width=400):
            slider = gr.ImageSlider(label="Before | after", interactive=False, max_height=560, buttons=["fullscreen"])
            save = gr.DownloadButton("Save the picture", visible=False, size="md")

    def show(path: str | None, kind: str, boxes: bool, request: gr.Request) -> tuple[Any, Any, str]:
        visitor = str(request.session_hash)
        if path is None:
            visits.clear(visitor, "picture")
            return None, gr.DownloadButton(visible=False), ""
        source = Path(path)
        folder, _ = visits.begin(visitor, "picture", source)
        try:
            shown = studio.picture(source, kind == ONE_FACE)
        except FsrError as error:
            return None, gr.DownloadButton(visible=False), words.of_problem(problem(error, source))
        saved = folder / f"{source.stem}_sr.png"
        before, after = folder / "before.png", folder / "after.png" if boxes else saved
        write_frame(saved, shown.after)
        write_frame(before, shown.with_boxes(shown.before) if boxes else shown.before)
        if boxes:
            write_frame(after, shown.with_boxes(shown.after))
        button = gr.DownloadButton(value=str(saved), visible=True)
        return (str(before), str(after)), button, words.of_picture(shown)

    gr.on(
        [given.change, kind.change, boxes.change],
        show,
        [given, kind, boxes],
        [slider, save, report],
        api_name="picture",
        concurrency_id="engine",
        trigger_mode="always_last",
        show_progress_on=[slider],
    )


def _film_tab(studio: Studio, visits: Visits) -> None:
    try:
        av()
    except MissingError as error:
        gr.HTML(words.of_problem(f"No films on this machine: {error}"))
        return
    with gr.Row():
        with gr.Column():
            given = gr.Video(label="Drop a film here", sources=["upload"], height=300)
            given.async_move_resource_to_block_cache = _refuse_addresses
            start = gr.Button("Upscale the film", variant="primary")
            gr.HTML(_what_happens(studio, "frame"))
            report = gr.HTML()
        with gr.Column():
            made = gr.Video(label="After", interactive=False, autoplay=True)

    def show(path: str | None, request: gr.Request, progress: Any = gr.Progress()) -> tuple[str | None, str]:  # noqa: B008
        visitor = str(request.session_hash)
        if path is None:
            return None, words.of_problem("There is no film yet: drop one in.")
        source = Path(path)
        folder, stop = visits.begin(visitor, "film", source)
        try:
            with reporting(to_callback(_telling(progress))):
                summary = studio.film(source, folder, stop)
        except FsrError as error:
            return None, words.of_problem(problem(error, source))
        if summary.stopped:
            return None, words.of_problem("Stopped before its end.")
        return str(summary.target), words.of_film(summary)

    def bring(path: str | None, request: gr.Request) -> None:
        visitor = str(request.session_hash)
        visits.bring(visitor, "film", Path(path)) if path else visits.clear(visitor, "film")

    given.change(bring, [given], api_visibility="private", queue=False)
    start.click(show, [given], [made, report], api_name="film", concurrency_id="engine", show_progress_on=[made])


def _what_happens(studio: Studio, what: str = "picture") -> str:
    """Return what becomes of pictures, or of the frames of films."""
    (h, w), (height, width) = studio.session.info.lr_shape, studio.session.info.sr_shape
    if studio.finder:
        upscale = studio.frames.settings.upscale
        return (
            f"<small>{studio.finder.title} finds the faces; each {what} is enlarged {upscale} times, and each face of"
            f" up to {width}x{height} pixels is upscaled and pasted back.</small>"
        )
    return (
        f"<small>Each {what} is taken as one face: its middle is resized to {w}x{h} pixels and upscaled to"
        f" {width}x{height}. With --find-faces, fsr-demo upscales the faces within whole pictures.</small>"
    )


def _telling(progress: Any) -> Callable[[str, int, int], None]:
    return lambda what, done, total: progress((done, total), desc=what, unit="frames")


def _path_of(payload: Any) -> str | None:
    return None if payload is None else payload.path


async def _refuse_addresses(path: str | None) -> str | None:
    """Return the path of an upload; Gradio's own would fetch a file for whoever names an address in place of one."""
    if path and "://" in path:
        raise gr.Error("This page takes files, not addresses.")
    return path
