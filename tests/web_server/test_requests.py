"""Malformed requests, requests in pieces, and headers that must not be believed."""

from __future__ import annotations

import json
import re
import socket
from http.client import parse_headers

import pytest

from tests.support.requests import REQUEST
from tests.web_server.served import Web, read_to_end, status_of

POST = b"POST /backtest HTTP/1.1\r\nHost: web\r\n"
GET = b"GET / HTTP/1.1\r\nHost: web\r\n"
JSON = b"Content-Type: application/json\r\n"
TWO_LENGTHS = b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"
LENGTH_AND_CHUNKS = b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"

# Refused by gunicorn, before the application is asked.
NO_REQUEST: dict[str, tuple[bytes, int]] = {
    "64 kB in one header": (GET + b"X: " + b"x" * 65536 + b"\r\n\r\n", 431),
    "a head of 12 kB in one field": (GET + b"X: " + b"x" * 12_000 + b"\r\n\r\n", 431),
    "many headers": (GET + b"A: b\r\n" * 500 + b"\r\n", 431),
    "a megabyte of headers": (GET + b"A: " + b"b" * 1_000_000, 431),
    "a long address": (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: web\r\n\r\n", 414),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
    "two lengths": (POST + TWO_LENGTHS, 400),
    "length and chunks": (POST + LENGTH_AND_CHUNKS, 400),
    "a length that is none": (POST + b"Content-Length: -5\r\n\r\n", 400),
    "a coding nobody knows": (POST + b"Transfer-Encoding: zip\r\n\r\n", 501),
    "an expectation nobody knows": (GET + b"Expect: wonders\r\n\r\n", 417),
}

CHUNKED = POST + b"Transfer-Encoding: chunked\r\n" + JSON + b"\r\n"
# Refused by the application, in the shape of all its errors.
NO_BODY: dict[str, tuple[bytes, int]] = {
    "chunks that are none": (CHUNKED + b"zz\r\n", 400),
    "a chunk longer than it says": (CHUNKED + b"2\r\nabc\r\n0\r\n\r\n", 400),
    "a negative chunk": (CHUNKED + b"-2\r\nab\r\n", 400),
    "a huge chunk": (CHUNKED + b"ffffff\r\n" + b"a" * 70_000, 413),
    "a huge body": (POST + b"Content-Length: 99999999\r\n\r\nab", 413),
    "a huge body of JSON": (POST + JSON + b"Content-Length: 99999999\r\n\r\n{", 413),
}


@pytest.mark.parametrize(("sent", "status"), NO_REQUEST.values(), ids=NO_REQUEST.keys())
def test_what_is_no_request_is_the_clients_fault(web: Web, sent: bytes, status: int) -> None:
    before = web.workers()
    with web.connect() as client:
        client.sendall(sent)
        answer = client.recv(65536)
    assert status_of(answer) == status
    assert b"connection: close" in answer.lower()
    assert status_of(web.get("/health")) == 200
    assert web.workers() == before


@pytest.mark.parametrize(("sent", "status"), NO_BODY.values(), ids=NO_BODY.keys())
def test_what_is_no_body_is_the_clients_fault(web: Web, sent: bytes, status: int) -> None:
    before = web.workers()
    with web.connect() as client:
        client.sendall(sent)
        answer = client.makefile("rb")
        assert int(answer.readline().split()[1]) == status
        headers = parse_headers(answer)
        error = json.loads(answer.read(int(headers["Content-Length"])))
    assert set(error) == {"error", "code", "run_id"}
    assert status_of(web.get("/health")) == 200
    assert web.workers() == before
    assert "Unhandled error" not in web.log.read_text()


def test_requests_in_any_pieces_are_answered(web: Web) -> None:
    body = json.dumps({**REQUEST, "run_id": "nonsense"}).encode()
    plain = POST + JSON + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunks = (
        b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:8], body[8:]))
        + b"0\r\n\r\n"
    )
    chunked = POST + JSON + b"Transfer-Encoding: Chunked\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"
    everything = plain + chunked + chunks + last
    for size in (1, 3, 64, len(everything)):
        with web.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(everything), size):
                connection.sendall(everything[start : start + size])
            answers = read_to_end(connection)
        assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"400", b"400", b"200"]
        assert answers.count(b"run_id must") == 2, answers


def test_a_client_that_waits_to_be_told_to_go_on(web: Web) -> None:
    head = POST + JSON + b"Expect: 100-continue\r\n"
    with web.connect() as connection:
        connection.sendall(head + b"Content-Length: 2\r\nConnection: close\r\n\r\n")
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert status_of(connection.recv(65536)) == 400
    with web.connect() as connection:
        connection.sendall(head + b"Content-Length: 99999999\r\n\r\n")
        answers = connection.makefile("rb")
        assert answers.readline() + answers.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert status_of(answers.readline()) == 413, "without the body"


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-Proto: https",
        "X-Forwarded-Protocol: ssl",
        "X-Forwarded-Ssl: on",
        "X-Forwarded-Host: evil.example",
        "SCRIPT_NAME: /evil",
        "Script-Name: /evil",
        "PATH_INFO: /runs",
        "X-Forwarded-Prefix: /evil",
        "Forwarded: proto=https",
    ],
)  # fmt: skip
def test_nobody_is_believed_about_the_outside_without_proxy_hops(web: Web, header: str) -> None:
    """gunicorn alone believes the loopback."""
    plain = web.get("/result/nobody?format=json")
    told = web.get("/result/nobody?format=json", header)
    assert status_of(told) == status_of(plain) == 404
    page = web.get("/runs", "Accept: text/html", header)
    assert status_of(page) == 200
    assert b"evil" not in page
    assert b"https:" not in page
