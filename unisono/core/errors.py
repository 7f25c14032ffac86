"""Every error a user can meet, in one tree.

UnisonoError
|- ConfigError                 an option or a combination of options is wrong
|- ModelError                  the checkpoint
|  |- ModelNotFoundError         no such folder or repository, or it cannot be reached
|  |- CheckpointError            files are missing, truncated, or contradict each other
|  |- AdapterError                an adapter is not understood, or not of this model
|  |- UnsupportedModelError      a family or format this version does not know
|  `- LayerListError             both: a list that says something of each layer does not fit
|- HardwareError               the device
|  |- DeviceNotFoundError        unknown name, or its driver or plugin is not here
|  |- InsufficientMemoryError    says how much is needed and what to change
|  `- SpecError                  no such chip in the spec ledger, or its file is wrong
|- RequestError                one request; the others go on
|  |- InvalidRequestError        a field is wrong (``param`` names it)
|  |- ContextLengthError         prompt and answer do not fit the context
|  |- QueueFullError             try again after ``retry_after_s``
|  |- RequestFailedError         the engine could not finish this request
|  `- HelperFailedError          a process beside this one was killed or stopped: try again
`- EngineDeadError             the engine process ended; its host restarts it

The message says what is wrong; ``hint`` says what to do next. Both are meant for people.
"""

from __future__ import annotations


class UnisonoError(Exception):
    """Base of every error that unisono raises on purpose."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ConfigError(UnisonoError):
    """An option, or a combination of options, cannot be used."""


class ModelError(UnisonoError):
    """Something about the model folder."""


class ModelNotFoundError(ModelError):
    """The model is neither a folder nor reachable under the given id."""


class CheckpointError(ModelError):
    """Files are missing, truncated, or contradict one another."""


class UnsupportedModelError(ModelError):
    """The family or the format is not one this version knows."""


class AdapterError(ModelError):
    """An adapter's files are not understood or do not fit the model, or its name is taken."""


class LayerListError(CheckpointError, UnsupportedModelError):
    """A per-layer list of a model's configuration does not fit the number of layers, or the
    kinds of layers that its family has here."""


class HardwareError(UnisonoError):
    """Something about the device."""


class DeviceNotFoundError(HardwareError):
    """No hardware of that name, or it is not present on this machine."""


class InsufficientMemoryError(HardwareError):
    """The device does not hold what was asked for."""


class SpecError(HardwareError):
    """The spec ledger has no chip of that name, or one of its files is wrong."""


class RequestError(UnisonoError):
    """Concerns one request alone."""


class InvalidRequestError(RequestError):
    """A field of the request is wrong; ``param`` is its name, where there is one."""

    def __init__(self, message: str, *, param: str | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.param = param


class ContextLengthError(InvalidRequestError):
    """Prompt (and the answer asked for) are longer than the context."""


class QueueFullError(RequestError):
    """Too many requests wait already."""

    def __init__(self, message: str, *, retry_after_s: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class RequestFailedError(RequestError):
    """The engine met an error while it computed this request."""


class HelperFailedError(RequestError):
    """A process that works beside this one was killed or stopped: neither the request's fault nor
    the model's."""


class EngineDeadError(UnisonoError):
    """The engine process ended while the request was in flight."""
