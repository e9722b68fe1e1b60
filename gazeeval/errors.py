"""Errors that a user can act on. Each knows the exit code the command line ends with.

Messages follow one shape: ``<what>: <file>:<line or field>, got <value>. <what to do>``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GazeEvalError(Exception):
    """A failure while working that is not a bug: printed without a traceback."""

    exit_code = 1
    shows_cause = False
    """Whether the command line prints the traceback of the cause: somebody's own code failed."""


class UsageError(GazeEvalError):
    """Something the user wrote is wrong: an option, a name, a value."""

    exit_code = 2


class SpecError(UsageError):
    """A dataset spec does not say what it should."""


class DataError(UsageError):
    """Images or gaze files are missing, malformed or implausible."""


class CheckpointError(UsageError):
    """A model or its weights cannot be used."""


class PluginError(UsageError):
    """A mixer or metric from elsewhere cannot be imported."""

    shows_cause = True


class MixerError(GazeEvalError):
    """A mixer failed or broke the contract; names the method and the pairs."""

    shows_cause = True


class ImageError(GazeEvalError):
    """One image cannot be read; fails its pairs, not the run."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``" (did you mean 'cutmix'?)"`` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
