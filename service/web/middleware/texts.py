"""Page texts in the reader's language: English sentences are the keys, `translations/<language>.po` has the others."""

from __future__ import annotations

import io
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
OURS = ("what",)  # values of an error that are texts of ours; the rest was typed by somebody
CATALOGUES = Path(__file__).parent.parent / "translations"


@cache
def catalogue(language: str) -> NullTranslations:
    """The texts of one language, compiled in memory; English needs none."""
    path = CATALOGUES / f"{language}.po"
    if not path.is_file():
        return NullTranslations()
    compiled = io.BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return Translations(compiled)


def language() -> str:
    """By the switch (`?lang=`, then its cookie), else by the browser; found once per request."""
    if "language" not in g:
        chosen = (place.get(COOKIE, "") for place in (request.args, request.cookies))
        switched = next((language for language in chosen if language in LANGUAGES), None)
        g.language = switched or request.accept_languages.best_match(list(LANGUAGES)) or "en"
    return str(g.language)


def switch(language: str) -> str:
    """This page's address in another language; the dashboard's where the page answers a form."""
    path = (
        "/" + quote(request.path.lstrip("/")) if request.method == "GET" else "/"
    )  # //host/ would be another host
    return f"{quote(request.root_path)}{path}?{urlencode({**request.args, COOKIE: language})}"


def text(message: str) -> str:
    """The message in the reader's language."""
    return catalogue(language()).gettext(message)


def plural(one: str, many: str, count: int) -> str:
    """As `text`, by count."""
    return catalogue(language()).ngettext(one, many, count)


def sentence(error: UserError) -> str:
    """An error's sentence in the reader's language; its values are filled in after the translation."""
    values = {
        name: text(str(value)) if name in OURS else value for name, value in error.values.items()
    }
    return text(error.template).format(**values)


def install(app: Flask) -> None:
    """Gives templates `_` and the list of languages, and keeps the choice in a cookie."""
    app.jinja_env.add_extension("jinja2.ext.i18n")
    app.jinja_env.install_gettext_callables(text, plural, newstyle=False)  # type: ignore[attr-defined]
    app.context_processor(
        lambda: {"language": language(), "languages": LANGUAGES, "switch": switch}
    )
    app.after_request(_keep_choice)


def _keep_choice(response: Response) -> Response:
    response.vary.update(("Accept", "Accept-Language", "Cookie"))
    if request.args.get(COOKIE) in LANGUAGES:
        path = request.script_root + "/"  # the host may have other programs
        response.set_cookie(
            COOKIE,
            request.args[COOKIE],
            max_age=31_536_000,
            path=path,
            httponly=True,
            samesite="Lax",
        )
    return response
