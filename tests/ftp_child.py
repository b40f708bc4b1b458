"""pyftpdlib in a process of its own: `python -m tests.ftp_child OPTIONS`. Says its port, then serves.

OPTIONS is JSON: `root`, `username`, `password`, and with TLS `certificate`.
"""

import json
import logging
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

EVERYTHING = "elradfmwMT"


def serve(root: str, username: str, password: str, certificate: str | None = None) -> None:
    authorizer = DummyAuthorizer()
    authorizer.add_user(username, password, root, perm=EVERYTHING)
    handler = type("Handler", (TLS_FTPHandler if certificate else FTPHandler,), {"authorizer": authorizer})
    handler.auth_failed_timeout = 0
    if certificate:
        handler.certfile = certificate
        handler.tls_control_required = handler.tls_data_required = True
    server = FTPServer(("127.0.0.1", 0), handler)
    server.backlog = 100
    print(server.address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    serve(**json.loads(sys.argv[1]))
