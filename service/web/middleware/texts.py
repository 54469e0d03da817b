"""Texts in the reader's language: the English ones are the keys of `translations/<language>.po`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from gettext import NullTranslations
from pathlib import Path
from urllib.parse import quote, urlencode

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import Translations
from flask import Flask, Response, g, request

from service.contract.errors import UserError

LANGUAGES = {"en": "English", "ko": "한국어"}
COOKIE = "lang"
COOKIE_SECONDS = 365 * 24 * 60 * 60
# The values of an error that are translated too; the others were typed by a user.
TRANSLATED_VALUES = ("what",)
# The values of an error that are fields of a request.
NAMES_OF_FIELDS = ("field", "later")
# What stands before a parameter where it is a field of a request.
PARAMETERS = ("params.", "grid.")
FILES = "files"
CATALOGUES = Path(__file__).parent.parent / "translations"


@cache
def catalogue(language: str) -> NullTranslations:
    """The texts of one language, compiled in memory; none where it has no file."""
    path = CATALOGUES / f"{language}.po"
    if not path.is_file():
        return NullTranslations()
    compiled = io.BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return Translations(compiled)


def language() -> str:
    """The reader's language, found once per request.

    It is that of the switch (`?lang=`, kept in a cookie), else that of the browser.
    """
    if "language" not in g:
        g.language = _chosen_language() or _language_of_browser()
    return str(g.language)


def _chosen_language() -> str | None:
    for chosen in (request.args.get(COOKIE), request.cookies.get(COOKIE)):
        if chosen in LANGUAGES:
            return chosen
    return None


def _language_of_browser() -> str:
    return request.accept_languages.best_match(list(LANGUAGES)) or "en"


def switch(language: str) -> str:
    """The address of this page in another language; of the dashboard where it answers a form."""
    path = "/"
    if request.method == "GET":
        # A second slash at the start would lead to another host.
        path += quote(request.path.lstrip("/"))
    kept = [(name, value) for name, value in request.args.items(multi=True) if name != COOKIE]
    return f"{quote(request.root_path)}{path}?{urlencode([*kept, (COOKIE, language)])}"


def text(message: str) -> str:
    """The message in the reader's language."""
    return catalogue(language()).gettext(message)


def plural(singular: str, plural_form: str, count: int) -> str:
    """The form of the message for this count, in the reader's language."""
    return catalogue(language()).ngettext(singular, plural_form, count)


def translated(error: UserError, labels: Mapping[str, str] | None = None) -> str:
    """The error's own sentence in the reader's language.

    Its values are filled in after the translation, so that what a user typed is not translated.
    `labels` are what a page calls the fields that the error may be about.
    """
    values = dict(error.values)
    if labels:
        for name in NAMES_OF_FIELDS:
            field = str(values.get(name, ""))
            if field in labels:
                values[name] = text(labels[field])
            elif field.startswith(PARAMETERS):
                values[name] = field.partition(".")[2]
    for name in TRANSLATED_VALUES:
        if name in values:
            values[name] = text(str(values[name]))
    return text(error.template).format(**values)


def install(app: Flask) -> None:
    """Gives templates `_` and the list of languages, and keeps the reader's choice in a cookie."""
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.install_gettext_callables(text, plural, newstyle=False)  # type: ignore[attr-defined]
    app.context_processor(_language_values)
    app.after_request(_keep_choice)


def _language_values() -> dict[str, object]:
    return {"language": language(), "languages": LANGUAGES, "switch": switch}


def _keep_choice(response: Response) -> Response:
    response.vary.update(("Accept", "Accept-Language", "Cookie"))
    # The language of a file is that of the file alone.
    if request.args.get(COOKIE) in LANGUAGES and request.blueprint != FILES:
        # The cookie is for our pages only: the host may have other programs.
        response.set_cookie(
            COOKIE,
            request.args[COOKIE],
            max_age=COOKIE_SECONDS,
            path=request.script_root + "/",
            httponly=True,
            samesite="Lax",
        )
    return response
