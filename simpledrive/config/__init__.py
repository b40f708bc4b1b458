"""Settings: what the drive is told from outside, read once and checked as a whole.

`load` answers with complete, checked settings or raises one `ConfigurationError` with every problem found.
`ensure_secrets` fills in what nobody gave; `effective` shows the result without a secret. Nothing here opens
a database or reaches a network.
"""

from simpledrive.config.display import effective
from simpledrive.config.reading import load
from simpledrive.config.safety import unsafe
from simpledrive.config.secrets import Secrets, ensure_secrets
from simpledrive.config.settings import JSON_MEMORY_FACTOR, Settings

__all__ = [
    "JSON_MEMORY_FACTOR",
    "Secrets",
    "Settings",
    "effective",
    "ensure_secrets",
    "load",
    "unsafe",
]
