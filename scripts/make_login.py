"""Makes a line for AUTH_USERS_FILE, or with --token one for AUTH_TOKENS_FILE.

    python -m scripts.make_login alice >>users
    python -m scripts.make_login --token nightly >>tokens

The first asks for the password, or reads it from a pipe. The second prints the token on standard
error. A token is printed only then: the line has its SHA-256.
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
    """Prints the line and returns 0; returns 1 when there is no password."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.make_login", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "name", type=_name, help="letters, digits and . _ @ -, such as alice or alice@example.org"
    )
    parser.add_argument(
        "--token", action="store_true", help="a token for programs instead of a password"
    )
    options = parser.parse_args(arguments)
    if options.token:
        print(_make_token_line(options.name))
        return 0
    password = _read_password()
    if not password:
        print(
            "No line: the password is empty, or it was not typed the same twice.", file=sys.stderr
        )
        return 1
    print(f"{options.name}:{generate_password_hash(password, PASSWORD_METHOD)}")
    return 0


def _name(text: str) -> str:
    if not re.fullmatch(NAME, text):
        raise argparse.ArgumentTypeError(
            "use 1 to 64 letters, digits and . _ @ -, the first a letter or digit"
        )
    return text


def _make_token_line(name: str) -> str:
    token = secrets.token_urlsafe(32)
    print(f"The token, shown this once: {token}", file=sys.stderr)
    return f"{name}:{hashlib.sha256(token.encode()).hexdigest()}"


def _read_password() -> str:
    """The password, or "" where it was not typed the same twice."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    return password if getpass.getpass("Again: ") == password else ""


if __name__ == "__main__":
    sys.exit(main())
