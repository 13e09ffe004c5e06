"""A person at a terminal, for the tests of what is typed."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def on_a_terminal(
    words: Sequence[str | Path], answer: str, variables: Mapping[str, str]
) -> tuple[int, str]:
    """Run a command in another folder, on a terminal, with a person who answers.

    Returns:
        Its exit status, and all that the terminal showed.
    """
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        words, cwd="/", env={**variables}, stdin=theirs, stdout=theirs, stderr=theirs
    ) as started:
        os.close(theirs)
        os.write(ours, answer.encode())
        said = b""
        try:
            while part := os.read(ours, 65536):
                said += part
        except OSError:  # the other side is closed
            pass
        os.close(ours)
    return started.returncode, said.decode()
