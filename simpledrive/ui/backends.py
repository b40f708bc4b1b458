"""/drive/backends: a card for each backend, with what the last look at it found, and a look now.

The answer to the form is the page itself, or the one card, with what that look found: each server process
looks for itself, and the one that answers next may not have looked since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flask import Blueprint, Response, make_response, render_template, request

from simpledrive.http.current import caller, parts
from simpledrive.look import ProbeResult
from simpledrive.mirroring import IN_STEP, Lag
from simpledrive.probes import NOT_CONFIGURED
from simpledrive.ui.pages import is_fragment, page
from simpledrive.usage import NONE, Counts, Usage

blueprint = Blueprint("backends", __name__, url_prefix="/backends")

KINDS = {"local": "Disk", "database": "Database", "s3": "S3", "ftp": "FTP", "fsspec": "Remote files"}
"""How pages call the kinds of storage; others by their own name."""


@dataclass(frozen=True)
class Card:
    """A backend. `share` is its part of all bytes, between 0 and 1."""

    name: str
    kind: str
    word: str
    is_default: bool
    where: str
    probe: ProbeResult
    counts: Counts
    share: float
    lag: Lag

    @property
    def is_gone(self) -> bool:
        return self.probe is NOT_CONFIGURED


@blueprint.get("")
def show() -> Response:
    """All of them, the default first, also one that is gone while bytes are recorded there."""
    caller().require_everywhere("admin")
    return _page(parts().probes.backends())


@blueprint.post("")
def check() -> Response:
    """Looks at the one that the form names now, or at all of them."""
    caller().require_everywhere("admin")
    named = request.form.get("name")
    probes = parts().probes.backends(now=[named] if named else [*parts().backends])
    if named and is_fragment():
        (card,) = (card for card in _cards(parts().counters.usage(caller()), probes) if card.name == named)
        return make_response(render_template("ui/backend_card.html", card=card))
    return _page(probes)


def _page(probes: Mapping[str, ProbeResult]) -> Response:
    usage = parts().counters.usage(caller())
    cards = _cards(usage, probes)
    return page(
        "ui/backends.html",
        usage=usage,
        cards=cards,
        bytes=sum(card.counts.bytes for card in cards),
        blobs=sum(card.counts.blobs for card in cards),
        failed=sum(not card.probe.reachable for card in cards),
    )


def _cards(usage: list[Usage], probes: Mapping[str, ProbeResult]) -> list[Card]:
    backends = parts().backends
    held = {each.backend: each.counts or NONE for each in usage}
    total = sum(counts.bytes for counts in held.values())
    lags = parts().lags.by_mirror(caller())
    return [
        Card(
            name=each.backend,
            kind=each.kind,
            word=KINDS.get(each.kind, each.kind),
            is_default=each.backend == backends.default,
            where=backends.where(each.backend),
            probe=probes.get(each.backend, NOT_CONFIGURED),
            counts=held[each.backend],
            share=held[each.backend].bytes / total if total else 0.0,
            lag=lags.get(each.backend, IN_STEP),
        )
        for each in usage
    ]
