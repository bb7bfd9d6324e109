"""The processes that a process started, found by their command lines; one that ends meanwhile is no error."""

from __future__ import annotations

import psutil


def command_line(process: psutil.Process) -> list[str]:
    """Its words, none of a process that has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def below(pid: int, *words: str) -> list[psutil.Process]:
    """Processes that `pid` started, and theirs, that have each of `words` in a word of their command line."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [p for p in children if (line := command_line(p)) and all(any(w in part for part in line) for w in words)]
