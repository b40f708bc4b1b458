"""Pages and fragments, and what every answer under /drive carries.

A request of htmx gets the page's main part and what changes beside it; everybody else gets the whole page,
made of the very same templates. Nothing here knows what a page is about.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Response, g, make_response, redirect, render_template, request, url_for

from simpledrive.http.blob_ids import quoted
from simpledrive.http.current import caller, parts
from simpledrive.http.policy import guard
from simpledrive.rights import Caller
from simpledrive.ui import notes


def page(template: str, **context: object) -> Response:
    """A page for somebody who is signed in, with the side that says where the bytes are."""
    context.setdefault("note", notes.take())
    if "usage" not in context:
        context["usage"] = parts().counters.usage(caller())
    return make_response(render_template(template, **context))


def see(url: str) -> Response:
    """The answer to a form: go and look there."""
    return make_response(redirect(url, 303))


def is_fragment() -> bool:
    """Whether htmx asks for a part. When it restores a page from history it needs the whole."""
    return "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers


def local(url: str | None) -> str:
    """The URL if it is a page of this drive, else the first page: nobody is sent elsewhere by a link."""
    inside = request.script_root + "/drive"
    if url and (url == inside or url.startswith(inside + "/")) and "\\" not in url and url.isprintable():
        return url
    return url_for("ui.files.top")


def here() -> str:
    """The URL of this request, without the host."""
    query = request.query_string.decode("latin-1")
    return request.script_root + quoted(request.path) + (f"?{query}" if query else "")


def before() -> str:
    """The page that a form was sent from, or the first one."""
    try:
        sent_from = urlsplit(request.referrer or "")
    except ValueError:  # not a URL
        return local(None)
    if sent_from.netloc != request.host:
        return local(None)
    return local(sent_from.path + (f"?{sent_from.query}" if sent_from.query else ""))


def context() -> dict[str, object]:
    """What every template may ask for; no database is touched, so that errors can be shown without one."""
    found: Caller | None = g.get("caller")
    return {
        "fragment": is_fragment(),
        "signed_in": found if found is not None and found.is_known else None,
        "may": found.scopes if found is not None else frozenset(),
        "is_confined": found is not None and bool(found.prefix),
        "this_page": here(),
        "theme": request.cookies.get("theme", "auto"),
    }


def finish(response: Response) -> Response:
    """Headers of everything under /drive. What a view has set itself stays."""
    if request.path != "/drive" and not request.path.startswith("/drive/"):
        return response
    guard(response)
    response.headers.setdefault("Cache-Control", "private, no-store")
    response.vary.update(["HX-Request", "HX-History-Restore-Request"])
    return response
