"""Who gets in: users, tokens, a proxy; and that nobody else does, whatever they send."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine
from werkzeug.security import check_password_hash

from scripts import make_login
from scripts.config import ROOT, Config, InvalidConfig, load_config, name_and_secret
from service.usecases.runs import Runs
from service.web.middleware import auth
from service.web.middleware.auth import Login, login_of
from tests.support.logins import (
    BASIC,
    HASH,
    PASSWORD,
    PROXY,
    SECRET,
    TOKEN,
    TOKENS,
    USERS,
    basic,
    bearer,
    client_with,
    proxied,
)
from tests.support.requests import REQUEST, RUN_ID
from tests.support.web import BROWSER, refused

OPEN = ("/health", "/ready", "/static/style.css")
CLOSED = (
    "/",
    "/runs",
    "/rules",
    "/tickers",
    "/metrics",
    "/openapi.json",
    "/docs",
    f"/status/{RUN_ID}",
    f"/result/{RUN_ID}",
    f"/result/{RUN_ID}/figure.png",
    f"/result/{RUN_ID}/equity.csv",
    f"/result/{RUN_ID}/trades.csv",
    "/nothing",
)


@pytest.mark.parametrize("login", [BASIC, PROXY], ids=lambda login: login.mode)
def test_what_is_open_and_what_is_not(engine: Engine, runs: Runs, login: Login) -> None:
    client = client_with(engine, runs, login)
    for address in OPEN:
        assert client.get(address, buffered=True).status_code == 200
    for address in CLOSED:
        refused(client.get(address), 401, "LoginNeeded", "Log in first")
        assert client.get(address, headers=bearer(TOKEN)).status_code in (200, 404)
    for answer in (client.post("/backtest", json=REQUEST), client.post(f"/runs/{RUN_ID}/cancel")):
        assert answer.status_code == 401
    assert runs.run_store.latest(1) == []


def test_browsers_are_asked_for_name_and_password(engine: Engine, runs: Runs) -> None:
    answer = client_with(engine, runs, BASIC).get("/", headers=BROWSER)
    assert (answer.status_code, answer.mimetype) == (401, "text/html")
    assert answer.headers.getlist("WWW-Authenticate") == [
        'Basic realm="Stock backtests", charset=UTF-8',
        'Bearer realm="Stock backtests"',
    ]
    assert "Stock Backtesting Platform" in answer.text
    proxy = client_with(engine, runs, PROXY).get("/")
    assert proxy.headers.getlist("WWW-Authenticate") == ['Bearer realm="Stock backtests"'], (
        "no prompt for what is no use"
    )


def test_users_and_tokens_get_in(engine: Engine, runs: Runs) -> None:
    client = client_with(engine, runs, BASIC)
    for headers in (basic("alice", PASSWORD), bearer(TOKEN)):
        for _ in range(2):  # the second time from memory
            assert client.get("/rules", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("alice", "wrong"),
        basic("alice", ""),
        basic("bob", PASSWORD),
        basic("", ""),
        basic("nobody", "0"),
        basic("nightly", TOKEN),
        basic("ALICE", PASSWORD),
        basic("alice", PASSWORD + "\0"),
        basic("alice", "x" * 60_000),
        bearer(""),
        bearer("x"),
        bearer(TOKENS["nightly"]),
        bearer(TOKEN + "x"),
        bearer(PASSWORD),
        bearer("\xff" * 9),
        {"Authorization": "Basic"},
        {"Authorization": "Basic ="},
        {"Authorization": "Basic //8="},
        {"Authorization": ""},
        {"Authorization": f"Digest username=alice, response={TOKEN}"},
        {"Authorization": f"Token {TOKEN}"},
        proxied("alice"),
        proxied("alice", ""),
    ],
)
def test_everybody_else_stays_outside(engine: Engine, runs: Runs, headers: dict[str, str]) -> None:
    refused(
        client_with(engine, runs, BASIC).get("/rules", headers=headers),
        401,
        "LoginNeeded",
        "Log in first",
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (proxied("alice"), 200),
        (proxied("alice@example.org"), 200),
        (bearer(TOKEN), 200),
        (proxied("alice", "wrong"), 401),
        (proxied("alice", ""), 401),
        ({"X-Forwarded-User": "alice"}, 401),
        (proxied(""), 401),
        (proxied("alice, bob"), 401),
        (proxied("<b>"), 401),
        (proxied("a" * 65), 401),
        (basic("alice", PASSWORD), 401),
        (proxied("alice", SECRET + "\xff"), 401),
        ({**proxied("eve", "x"), **bearer("x")}, 401),
    ],
)
def test_the_proxy_is_trusted_by_its_secret(
    engine: Engine, runs: Runs, headers: dict[str, str], status: int
) -> None:
    assert client_with(engine, runs, PROXY).get("/rules", headers=headers).status_code == status


def test_the_header_of_the_proxy_can_be_another(engine: Engine, runs: Runs) -> None:
    client = client_with(
        engine, runs, Login("proxy-header", proxy_header="Remote-User", proxy_secret=SECRET)
    )
    assert (
        client.get(
            "/rules", headers={"Remote-User": "alice", "X-Auth-Proxy-Secret": SECRET}
        ).status_code
        == 200
    )
    assert client.get("/rules", headers=proxied("alice")).status_code == 401


def test_a_name_that_nobody_has_takes_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    monkeypatch.setattr(
        auth,
        "check_password_hash",
        lambda known, password: verified.append(known) or password == "right",
    )
    login = Login("basic", USERS)
    assert login._checked_name("alice", "wrong", "a") is None
    assert login._checked_name("bob", "wrong", "b") is None
    assert login._checked_name("bob", "right", "c") is None, (
        "not even with what the hash of nobody would take"
    )
    assert [known.split("$")[0] for known in verified] == ["scrypt:32768:8:1"] * 3
    assert login._checked_name("alice", "right", "d") == "alice"
    assert login._checked_name("alice", "right", "e") == "alice"
    assert len(verified) == 4, "what was right is remembered, what was wrong is not"


def test_what_is_remembered_is_bounded_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "check_password_hash", lambda *_: True)
    login = Login("basic", {f"user{number}": HASH for number in range(3000)})
    for name in login.users:
        assert login._checked_name(name, "right", "a") == name
    assert 0 < len(login._verified) <= auth.MAX_REMEMBERED_LOGINS
    other = Login("basic", login.users)
    assert other._checked_name("user2999", "right", "a") == "user2999"
    assert not other._verified & login._verified, "a key for each process"
    for secret in (HASH, "_verified", "_key"):
        assert secret not in repr(login)


def test_the_log_says_who(engine: Engine, runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    client = client_with(engine, runs, BASIC)
    with caplog.at_level(logging.INFO):
        run_id = client.post("/backtest", json=REQUEST, headers=basic("alice", PASSWORD)).json[
            "run_id"
        ]  # type: ignore[index]
        client.post(f"/runs/{run_id}/cancel", headers=bearer(TOKEN))
        client.get("/rules", headers=basic("my-password-in-the-wrong-field", "x"))
    assert "rule=MA_CROSS_10_30, client=alice" in caplog.text
    assert "now cancelled, client=nightly" in caplog.text
    assert "Login refused: name=unknown, address=127.0.0.1" in caplog.text
    assert "my-password" not in caplog.text


def test_without_login_the_address_says_who(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        client.post("/backtest", json=REQUEST, headers=basic("alice", PASSWORD))
    assert "client=127.0.0.1" in caplog.text


# settings


def line(name: str = "alice") -> str:
    return f"{name}:{HASH}"


def token_line(name: str = "nightly") -> str:
    return f"{name}:{TOKENS['nightly']}"


def test_settings_may_have_comments_and_stand_in_files(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"# people\n\n{line()}\n  {line('bob@example.org')}  \n")
    config = load_config(
        {
            "AUTH_MODE": "basic",
            "AUTH_USERS_FILE": str(tmp_path / "users"),
            "AUTH_TOKENS": token_line(),
        }
    )
    assert name_and_secret(config.auth_users) == {"alice": HASH, "bob@example.org": HASH}
    login = login_of(config)
    assert (login.mode, set(login.users), login.tokens) == (
        "basic",
        {"alice", "bob@example.org"},
        TOKENS,
    )
    assert HASH not in repr(config)
    assert TOKENS["nightly"] not in repr(config)
    assert login_of(Config()).mode == "none"


BAD_USERS = [
    "alice",
    "alice:",
    "alice:plain-text-s3cret",
    f":{HASH}",
    f"a b:{HASH}",
    f"-a:{HASH}",
    f"{'a' * 65}:{HASH}",
    f"alice:{HASH.replace('32768', '2')}",
    f"alice:{HASH.replace('scrypt:32768:8:1', 'pbkdf2:sha256:1')}",
    f"alice:{HASH}x",
    f"alice:{HASH}:x",
    f"ålice:{HASH}",
    token_line(),
]


@pytest.mark.parametrize("bad", BAD_USERS)
def test_a_bad_line_is_named_and_never_shown(bad: str, tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"{line('first')}\n# a comment\n{bad}\n")
    with pytest.raises(InvalidConfig) as caught:
        load_config({"AUTH_MODE": "basic", "AUTH_USERS_FILE": str(tmp_path / "users")})
    assert (
        str(caught.value) == "AUTH_USERS: line 3 is none that python -m scripts.make_login prints"
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"AUTH_TOKENS": f"{token_line()}\n{line()}", "AUTH_MODE": "basic"},
            "AUTH_TOKENS: line 2 is none",
        ),
        (
            {"AUTH_USERS": f"{line()}\n{line()}", "AUTH_MODE": "basic"},
            "AUTH_USERS: line 2 has the name of an earlier line",
        ),
        ({"AUTH_MODE": "basic"}, "AUTH_MODE=basic needs AUTH_USERS or AUTH_TOKENS"),
        (
            {"AUTH_MODE": "basic", "AUTH_USERS": "# nobody\n"},
            "AUTH_MODE=basic needs AUTH_USERS or AUTH_TOKENS",
        ),
        ({"AUTH_MODE": "Basic"}, "AUTH_MODE must be one of none, basic, proxy-header"),
        ({"AUTH_USERS": line()}, "count with AUTH_MODE=basic or proxy-header only"),
        ({"AUTH_MODE": "proxy-header"}, "needs an AUTH_PROXY_SECRET of at least 16 characters"),
        (
            {"AUTH_MODE": "proxy-header", "AUTH_PROXY_SECRET": "s3cret"},
            "needs an AUTH_PROXY_SECRET of at least 16",
        ),
        (
            {"AUTH_MODE": "proxy-header", "AUTH_PROXY_SECRET": SECRET, "AUTH_USERS": line()},
            "AUTH_USERS counts with AUTH_MODE=basic",
        ),
        ({"AUTH_PROXY_HEADER": "X Y"}, "AUTH_PROXY_HEADER must look like"),
    ],
)
def test_a_login_that_cannot_work_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load_config(environment)
    assert message in str(caught.value)
    for secret in (HASH, TOKENS["nightly"], "s3cret"):
        assert secret not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "users").write_bytes(b"alice:\xff\xfe")
    with pytest.raises(InvalidConfig, match="AUTH_USERS_FILE is no text"):
        load_config({"AUTH_MODE": "basic", "AUTH_USERS_FILE": str(tmp_path / "users")})


# python -m scripts.make_login


def test_a_user_is_made_with_the_password_that_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(PASSWORD + "\n"))
    assert make_login.main(["alice"]) == 0
    out = capsys.readouterr().out.strip()
    users = name_and_secret(load_config({"AUTH_MODE": "basic", "AUTH_USERS": out}).auth_users)
    assert check_password_hash(users["alice"], PASSWORD)


def test_a_token_is_shown_once_and_only_its_hash_is_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert make_login.main(["--token", "nightly"]) == 0
    captured = capsys.readouterr()
    token = captured.err.rpartition(" ")[2].strip()
    assert len(token) >= 43
    config = load_config({"AUTH_MODE": "basic", "AUTH_TOKENS": captured.out})
    assert login_of(config)._name_of_token(token) == "nightly"
    assert token not in captured.out


def test_a_terminal_is_asked_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    for typed, code in ((["one", "two"], 1), (["one", "one"], 0), (["", ""], 1)):
        monkeypatch.setattr("getpass.getpass", lambda _, typed=typed: typed.pop(0))
        assert make_login.main(["alice"]) == code
        captured = capsys.readouterr()
        assert captured.out.startswith("alice:scrypt:") is (code == 0)
        assert "one" not in captured.out + captured.err


@pytest.mark.parametrize("name", ["", "a:b", "-x", "a b", "x" * 65, "ü"])
def test_a_name_that_no_line_may_have_is_refused(name: str) -> None:
    with pytest.raises(SystemExit):
        make_login.main(["--token", "--", name])


def test_it_runs_as_the_readme_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.make_login", "alice"],
        cwd=ROOT,
        input="pw\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert load_config({"AUTH_MODE": "basic", "AUTH_USERS": done.stdout})
