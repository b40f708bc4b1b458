"""Where a path in the settings begins that is not absolute."""

import os
from pathlib import Path


def anchored(path: Path | str, folder: Path) -> Path:
    """The absolute path: a relative one begins in `folder`, and `~` is a home folder.

    Touches no disk. Raises ValueError for the home of somebody who is not known here.
    """
    try:
        return Path(os.path.abspath(folder / Path(path).expanduser()))
    except RuntimeError:
        raise ValueError("begins with the home folder of somebody who is not known here") from None
