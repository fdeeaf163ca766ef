"""Join the separate weight files of Paddle 1, which wrote each parameter into a file named after it.

Engines take the parameters one behind the other in one file, in the order of their names; the records are the same. Such a file is made
once, and kept.
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import List, Optional

from hubserve.engines.file_cache import locked, note_origin, put_in_place
from hubserve.errors import LoadFailed
from hubserve.paths import cache_dir


def separate_weights(graph: Path, names: List[str]) -> Optional[List[Path]]:
    """Find the files of a program's parameters, in the order of a joined file; None unless they are beside the program.

    Args:
        graph: the program's file.
        names: of all its parameters.
    Raises:
        LoadFailed: some are there, and others are missing.
    """
    folder = graph.parent.resolve()
    files = [folder / name for name in sorted(names)]
    missing = [each for each in files if folder not in each.resolve().parents or not each.is_file()]
    if len(missing) == len(files):
        return None
    if missing:
        listed = ", ".join(each.name for each in missing[:3])
        raise LoadFailed(
            f"'{graph.name}' has {len(files)} parameters, each in a file of its own, and {len(missing)} of the files are missing from "
            f"'{graph.parent}': {listed}. Copy all files of the model there."
        )
    return files


def put_together(files: List[Path]) -> Path:
    """Write the parameters into one file, and keep it for the next time.

    Raises:
        LoadFailed: it cannot be written.
    """
    hasher = hashlib.blake2b(digest_size=16)
    for each in files:
        status = each.stat()
        hasher.update(f"{each}|{status.st_size}|{status.st_mtime_ns}|".encode("utf-8", "surrogateescape"))
    path = cache_dir() / "weights" / f"{hasher.hexdigest()}.pdiparams"
    try:
        with locked(path):
            if not path.is_file():
                draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
                with draft.open("wb") as together:
                    for each in files:
                        with each.open("rb") as one:
                            shutil.copyfileobj(one, together)
                put_in_place(draft, path)
                note_origin(path, files[0])
    except OSError as error:
        raise LoadFailed(f"the parameters of '{files[0].parent}' cannot be put together in '{path}': {error.strerror}.") from error
    return path
