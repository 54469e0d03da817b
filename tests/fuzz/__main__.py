"""Coverage-guided fuzzing: `python -m tests.fuzz TARGET [SECONDS]`, needs requirements.txt here.

It ends with an error at the first crash, or at an input that takes longer than SLOW_SECONDS, and
prints the input: it becomes an example of `test_targets`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

SLOW_SECONDS = 20
MEGABYTES = 6000  # of the fuzzer, which keeps what pandas makes of each input

with atheris.instrument_imports(include=["service", "rules", "scripts"]):
    from tests.fuzz.targets import TARGETS


def fuzz(name: str, seconds: int) -> None:
    """Never returns: libFuzzer ends the process."""
    target = TARGETS[name]
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    seeds = folder / "seeds"
    seeds.mkdir()
    for number, seed in enumerate(target.seeds):
        (seeds / str(number)).write_bytes(seed.encode("utf-8", "surrogatepass"))
    words = [_quoted(word) for word in target.words]
    (folder / "words").write_text("\n".join(words) + "\n")
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={SLOW_SECONDS}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-dict={folder / 'words'}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        "-max_len=4096",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(seeds)], target.run)
    atheris.Fuzz()


def _quoted(word: str) -> str:
    """As libFuzzer reads it: bytes beyond ASCII, quotes and backslashes are written as numbers."""
    return '"' + "".join(_letter(byte) for byte in word.encode()) + '"'


def _letter(byte: int) -> str:
    is_plain = 32 <= byte < 127 and byte not in b'"\\'
    return chr(byte) if is_plain else f"\\x{byte:02X}"


if __name__ == "__main__":
    fuzz(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 600)
