"""The address of the page and what its answers carry."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from fsr_deploy.errors import UsageError
from fsr_deploy.page.server import POLICY, OwnOnly, free_port, is_loopback


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.5.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("box", False),
    ],
)
def test_only_loopback_needs_no_warning(host: str, own: bool) -> None:
    assert is_loopback(host) is own


def test_port_0_is_any_that_is_free() -> None:
    assert 0 < free_port("127.0.0.1", 0) < 65536


def test_a_port_that_is_taken_is_named_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"^--host 127.0.0.1 --port {port}: .* 0 for any that is free$"):
            free_port("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 99999), ("127.0.0.1", -1), ("no such host.", 0)])
def test_an_address_that_is_none_is_named(host: str, port: int) -> None:
    with pytest.raises(UsageError, match=f"--host {host} --port {port}: cannot be used"):
        free_port(host, port)


def test_browsers_are_told_to_fetch_nothing_from_elsewhere() -> None:
    sent: list[Any] = []

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b"page"})

    async def keep(message: Any) -> None:
        sent.append(message)

    asyncio.run(OwnOnly(answer)({"type": "http"}, None, keep))
    assert sent[0]["headers"] == [(b"a", b"b"), (b"content-security-policy", POLICY)]
    assert sent[1] == {"type": "http.response.body", "body": b"page"}
    assert b"http" not in POLICY and b"*" not in POLICY
