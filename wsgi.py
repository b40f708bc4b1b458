"""The drive for any WSGI server: `app`.

`make run` serves it with gunicorn.conf.py, which also brings the database up to date. Another server wants
`flask db upgrade` run beforehand.
"""

from simpledrive import create_app

app = create_app()
