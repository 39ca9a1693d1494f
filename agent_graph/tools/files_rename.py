"""Giving a file or folder a name that must be free: ``rename`` alone would replace what is there."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
from typing import Any

_NO_REPLACE = 1
"""RENAME_NOREPLACE of Linux."""
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)
"""The kernel or this file system does not know how."""


def rename_new(from_folder: int, name: str, to_folder: int, new: str) -> None:
    """In one step where the system can (Linux). Elsewhere a file gets its second name before it loses its first.

    Raises FileExistsError when the name is taken, and changes nothing then; any other OSError as it comes.
    """
    call = _renameat2()
    if call is not None:
        if call(from_folder, os.fsencode(name), to_folder, os.fsencode(new), _NO_REPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in _CANNOT:
            raise OSError(number, os.strerror(number), new)
    _rename_by_link(from_folder, name, to_folder, new)


def _rename_by_link(from_folder: int, name: str, to_folder: int, new: str) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=from_folder, follow_symlinks=False).st_mode):
        # A folder has one name only. Where one was made a moment ago it is replaced only if it is empty; a file is not.
        try:
            os.stat(new, dir_fd=to_folder, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(name, new, src_dir_fd=from_folder, dst_dir_fd=to_folder)
            return
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
    os.link(name, new, src_dir_fd=from_folder, dst_dir_fd=to_folder, follow_symlinks=False)
    os.unlink(name, dir_fd=from_folder)


@functools.cache
def _renameat2() -> Any:
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    call.restype = ctypes.c_int
    return call
