"""What can go wrong, by whose doing it is.

A message gives the place, what was found, what was expected and the next step, in one line. The command line
prints it as it is and exits with the class's `exit_code`.
"""

import errno
import re


class EarshotError(Exception):
    """Base of every error that Earshot raises on purpose; the work failed."""

    exit_code = 1


class CannotWrite(EarshotError):
    """The disk is full; what was there before is as it was."""


class InputError(EarshotError):
    """The call or its input is wrong; nothing was written over."""

    exit_code = 2


class DataError(InputError):
    """A pair set, an annotation file or a prediction file does not hold what its format promises."""


class ImageError(DataError):
    """An image was refused: unreadable, truncated, too large, of a format not allowed, or outside its folder."""


class ConfigError(InputError):
    """A configuration names an unknown key or an impossible value."""


class ModelError(InputError):
    """A model folder is missing, incomplete, of an unsupported family, or its tokenizer does not fit the protocol."""


class ModelOutOfReach(ModelError):
    """There is no such folder, and the hub cannot be asked for it."""


class PromptTooLong(InputError):
    """Prompts do not fit into the model's context.

    Args:
        too_long: Why, by the place of the pair among those that were asked about.
    """

    def __init__(self, too_long: dict[int, str]) -> None:
        super().__init__(next(iter(too_long.values())))
        self.too_long = too_long


class RemoteError(EarshotError):
    """A server did not answer, refused, or answered what cannot be read.

    Attributes:
        status: Of the HTTP response, if there was one.
        gone: Whether other questions would fare no better: the server is away, or lets nobody in.
    """

    def __init__(self, message: str, *, status: int | None = None, gone: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.gone = gone


class ListenerUnavailable(EarshotError):
    """A listener broke (time-out, non-finite logits). The reward is missing; it is never 0, a tie or a guess.

    Attributes:
        gone: Whether other questions would fare no better, as far as is known.
    """

    def __init__(self, message: str, *, gone: bool = False) -> None:
        super().__init__(message)
        self.gone = gone


class TrainingAborted(EarshotError):
    """Training stopped itself because its numbers stopped making sense, or nothing was to be learnt from them."""


class TrainingInterrupted(EarshotError):
    """Training was ended from outside, by a signal or a listener that stopped; what could be saved is.

    Args:
        message: What happened, and how to go on.
        exit_code: 143 by default, as a shell tells of SIGTERM.
    """

    def __init__(self, message: str, *, exit_code: int = 143) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RehearsalFailed(EarshotError):
    """A dry run got through its step, but what it should have exercised was not."""


# What torch says when the system takes less than it wrote, and safetensors when it takes nothing.
_NO_ROOM = re.compile(r"No space left on device|inline_container.* unexpected pos|PytorchStreamWriter failed writing")


def disk_is_full(error: BaseException) -> bool:
    """Whether something could not be written because its disk, or its owner's share of it, is full."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or bool(
        _NO_ROOM.search(str(error))
    )


def one_line(message: object) -> str:
    """A message of anybody's on one line."""
    return " ".join(str(message).split())


def first_line(error: object) -> str:
    """What Arrow, transformers and the like say first; what follows is of no use to a caller."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def short(value: object) -> str:
    """A value as a message shows it: in ASCII, and not all of a long one."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
