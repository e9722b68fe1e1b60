"""Only regular files are opened: a named pipe would wait for a writer for ever, and a device may never end."""

from __future__ import annotations

import errno
import stat
from pathlib import Path


def require_regular(path: Path) -> None:
    """Raise OSError, with a reason in ``strerror``, unless ``path`` is (or leads to) a regular file."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file but a folder, a pipe or a device", str(path))
