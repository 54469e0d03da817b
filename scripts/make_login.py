"""Makes a line for AUTH_USERS_FILE, or with --token one for AUTH_TOKENS_FILE.

    python -m scripts.make_login alice >>users                   (asks for the password, or reads it from a pipe)
    python -m scripts.make_login --token nightly >>tokens        (shows the token once, on standard error)

A token is shown nowhere again: the line has its SHA-256 only.
"""

from __future__ import annotations

import argparse
import getpass
import hashlib
import re
import secrets
import sys
from collections.abc import Sequence

from werkzeug.security import generate_password_hash

from scripts.config import NAME, PASSWORD_METHOD


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the line; 1 and one sentence on standard error when there is no password."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.make_login", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "name", type=_name, help="letters, digits and . _ @ -, such as alice or alice@example.org"
    )
    parser.add_argument(
        "--token", action="store_true", help="a token for programs instead of a password"
    )
    asked = parser.parse_args(arguments)
    if asked.token:
        print(_token_line(asked.name))
        return 0
    password = _password()
    if not password:
        print(
            "No line: the password is empty, or it was not typed the same twice.", file=sys.stderr
        )
        return 1
    print(f"{asked.name}:{generate_password_hash(password, PASSWORD_METHOD)}")
    return 0


def _name(text: str) -> str:
    if not re.fullmatch(NAME, text):
        raise argparse.ArgumentTypeError(
            "use 1 to 64 letters, digits and . _ @ -, the first a letter or digit"
        )
    return text


def _token_line(name: str) -> str:
    token = secrets.token_urlsafe(32)
    print(f"The token, shown this once: {token}", file=sys.stderr)
    return f"{name}:{hashlib.sha256(token.encode()).hexdigest()}"


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    return password if getpass.getpass("Again: ") == password else ""


if __name__ == "__main__":
    sys.exit(main())
