"""Everything between the socket and the app: gunicorn's threads, without what strangers can do to them.

`gunicorn.conf.py` names the worker; nothing else imports this package, and another WSGI server does without.
"""
