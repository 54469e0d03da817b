"""The text of a file, in whatever encoding."""

from __future__ import annotations

import codecs

from service.prices.series import UnreadablePrices

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
WEB_PAGE = "It is a web page, perhaps a vendor's error: save the CSV file itself."
# How files begin that are no tables of text, and what to do about them.
OTHER_KINDS = (
    (b"PK\x03\x04", "It is an Excel file or an archive: save it as CSV, or unpack it."),
    (b"\xd0\xcf\x11\xe0", "It is an Excel file: save it as CSV."),
    (b"\x1f\x8b", "It is compressed: unpack it first."),
    (b"<!", WEB_PAGE),
    (b"<html", WEB_PAGE),
    (b"<?xml", WEB_PAGE),
    (b"{", "It is JSON: save it as CSV."),
    (b"%PDF", "It is a PDF file: a CSV file is needed."),
)
ZEROS_SHARE = 0.3  # of the bytes: more are UTF-16 without a mark


def decoded(data: bytes) -> tuple[str, str]:
    """The text, and the name of its encoding. Raises UnreadablePrices."""
    for start, advice in OTHER_KINDS:
        if data.lstrip().lower().startswith(start.lower()):
            raise UnreadablePrices(advice)
    for mark, codec, name in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _strictly(data, codec, name)
    if data.count(0) > ZEROS_SHARE * len(data):
        return _strictly(data, "utf-16-le" if data[1::2].count(0) else "utf-16-be", "UTF-16")
    for codec, name in (("utf-8", "UTF-8"), ("cp949", "CP949")):
        try:
            return data.decode(codec), name
        except UnicodeDecodeError:
            continue
    return data.decode("cp1252", errors="replace"), "Windows-1252"


def _strictly(data: bytes, codec: str, name: str) -> tuple[str, str]:
    try:
        return data.decode(codec), name
    except UnicodeDecodeError:
        raise UnreadablePrices(
            "It begins like {encoding} and is none: save it as UTF-8.", encoding=name
        ) from None
