"""The session's cookie: Secure where the request came encrypted, or where SECURE_COOKIES says so."""

from flask import Flask, request
from flask.sessions import SecureCookieSessionInterface


class Cookies(SecureCookieSessionInterface):
    """Flask's signed cookies, which a browser that uses TLS never sends without."""

    def get_cookie_secure(self, app: Flask) -> bool:
        """Whether the cookie in this answer is for encrypted connections alone."""
        return request.is_secure or super().get_cookie_secure(app)
