"""Idempotency-Key: how a caller says that two requests are one, sent twice."""

from __future__ import annotations

import hashlib

from flask import Request

from simpledrive.errors import Invalid
from simpledrive.rights import Caller

MAX_KEY = 255


def once(request: Request, caller: Caller) -> str | None:
    """What stands for this request among all that anybody sends; None if it does not ask to be repeatable.

    A replay belongs to the caller and route that made it; callers without a key are told apart by address.
    Raises Invalid.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
        raise Invalid(("Idempotency-Key", f"This has 1 to {MAX_KEY} visible characters."))
    route = request.url_rule.rule.rstrip("/") if request.url_rule else ""
    who = caller.key_id if caller.is_known else f"{caller.key_id} at {caller.origin.address}"
    return hashlib.sha256(f"{who}\n{route}\n{key}".encode()).hexdigest()
