"""The drive for any WSGI server: `app`. Also what `flask --app wsgi drive ...` runs in.

`make run` serves it with gunicorn.conf.py, which also brings the database up to date. Another server wants
`flask --app wsgi db upgrade` run beforehand.
"""

import sys

from simpledrive import create_app
from simpledrive.errors import ConfigurationError

try:
    app = create_app()
except ConfigurationError as error:
    sys.exit(str(error))
