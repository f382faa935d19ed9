# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""What file servers, file systems and archives leave behind beside people's files."""

import re

# In lower case. Names that begin with a dot are leftovers too.
HOUSEKEEPING = frozenset(
    {
        *("@eadir", "@tmp", "@sharebin", "#recycle", "#snapshot", "@__thumb", "@recycle", "@recently-snapshot"),  # NAS
        *("~snapshot", "lost+found", "lost.dir", "$recycle.bin", "recycler", "recycled", "system volume information"),
        *("__macosx", "network trash folder", "temporary items", "thevolumesettingsfolder"),
    }
)
CHECKED_DISK = re.compile(r"found\.\d{3}")  # where Windows puts what it finds of a damaged file system


def is_housekeeping(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or a leftover of a file system or an archive."""
    name = name.lower()
    return name.startswith(".") or name in HOUSEKEEPING or CHECKED_DISK.fullmatch(name) is not None


def is_below_housekeeping(path: str) -> bool:
    """Whether a part of a path in an archive, such as ./faces/@eaDir/a.jpg, is housekeeping."""
    return any(is_housekeeping(part) for part in path.split("/") if part not in ("", ".", ".."))
