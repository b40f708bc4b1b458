"""What the drive's own pages may load and do. User files have a stricter policy of their own (content.py)."""

from flask import Response

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def guard(response: Response) -> Response:
    """Sets the policy, unless the view has set one. For a blueprint's after_request."""
    response.headers.setdefault("Content-Security-Policy", POLICY)
    return response
