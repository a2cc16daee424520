"""The page's server: on loopback unless told otherwise, nothing from elsewhere, nothing left behind."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import tempfile
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsr_deploy._util.imports import load
from fsr_deploy._util.log import say, warn
from fsr_deploy.errors import UsageError
from fsr_deploy.page.studio import Studio
from fsr_deploy.page.visits import Visits

# A browser then refuses to load anything of other hosts, and to show the page within another one. Gradio's own scripts
# need the two exceptions.
POLICY = (
    b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:; object-src 'none';"
    b" frame-ancestors 'self'; form-action 'self'"
)
# Read by Gradio and by what it brings.
_QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}

_Message = MutableMapping[str, Any]
_Send = Callable[[_Message], Awaitable[None]]


class OwnOnly:
    """A layer of the server that adds POLICY to each answer (ASGI)."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: _Send) -> None:
        """Answer a request."""

        async def with_policy(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"content-security-policy", POLICY)]
            await send(message)

        await self._app(scope, receive, with_policy)


@contextmanager
def gradio_at_home() -> Iterator[Path]:
    """Import Gradio, with its telemetry off; yields the one folder that all files lie in, and removes it at the end.

    Gradio makes folders when it is imported, so this comes first. Raises MissingError with what installs Gradio.
    """
    with tempfile.TemporaryDirectory(prefix="fsr-demo-", ignore_cleanup_errors=True) as folder:
        os.environ.update(_QUIET, GRADIO_TEMP_DIR=folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that FFmpeg's programs are missing, which are not used
            load("gradio")
        yield Path(folder)


def serve(studio: Studio, home: Path, host: str, port: int, stop: threading.Event) -> None:
    """Show the page until ``stop`` is set; ``home`` is gradio_at_home's. Raises UsageError for an address that is
    taken.
    """
    from fsr_deploy.page.layout import build

    visits = Visits(home)
    page = build(studio, visits)
    try:
        _launch(page, host, free_port(host, port), studio.limits.upload_bytes)
        if not is_loopback(host):
            warn(f"everyone who reaches {host} can use this page: it has no password and no encryption")
        say(f"the page is at http://{f'[{host}]' if ':' in host else host}:{page.server_port}; Ctrl-C ends it")
        stop.wait()
    finally:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # requests that are cut off now are no faults
        visits.stop_all()
        page.close(verbose=False)
        studio.wait()


def _launch(page: Any, host: str, port: int, upload_bytes: int) -> None:
    import gradio as gr
    from starlette.middleware import Middleware

    from fsr_deploy.page.layout import CSS

    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        inline=False,
        inbrowser=False,
        quiet=True,
        prevent_thread_lock=True,
        max_file_size=upload_bytes,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        theme=gr.themes.Soft(**fonts),  # Gradio's own fonts may come from a server of Google's
        css=CSS,
        app_kwargs={"middleware": [Middleware(OwnOnly)]},
    )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def free_port(host: str, port: int) -> int:
    """Return the port, or any free one for 0; raises UsageError where the address cannot be taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
            return int(tried.getsockname()[1])
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"--host {host} --port {port}: cannot be used: {reason}; name another --port, 0 for any that is free"
        ) from error
