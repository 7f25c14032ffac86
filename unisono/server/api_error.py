"""Every error as a client sees it, in OpenAI's shape and with what to do next; and as the log has
it: where it happened, never what the client had written.

Knows status codes and the tree of ``unisono.core.errors``. Tells no path, stack or prompt.
"""

from __future__ import annotations

import json
import logging
import traceback

from starlette.responses import Response

from unisono.core import errors

_RETRY_AFTER_S = 5


class ApiError(Exception):
    """An answer that is an error.

    Args:
        status: HTTP status.
        message: for people: what is wrong and what to do.
        code: for programs.
        param: the field that is wrong.
        retry_after_s: when to try again.
        close: whether the connection is of no more use.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.close = close

    def body(self) -> bytes:
        """``{"error": {"message", "type", "param", "code"}}``."""
        fields = {
            "message": self.message,
            "type": error_kind(self.status),
            "param": self.param,
            "code": self.code,
        }
        return json.dumps({"error": fields}).encode()


def error_kind(status: int) -> str:
    """The kind of error that a status is, as OpenAI and Anthropic name them."""
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    return kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")


def bad_request(message: str, *, param: str | None = None, code: str = "invalid_value") -> ApiError:
    return ApiError(400, message, param=param, code=code)


def not_supported(feature: str, param: str, hint: str = "") -> ApiError:
    return bad_request(
        f"{param}: {feature} is not supported yet. {hint or 'Leave the field out.'}",
        param=param,
        code="not_supported",
    )


def api_error(error: BaseException) -> ApiError:
    """The client's view of any error; one that we did not foresee says only that."""
    match error:
        case ApiError():
            return error
        case errors.ContextLengthError():
            code = "context_length_exceeded"
            return ApiError(400, str(error), param=error.param, code=code)
        case errors.InvalidRequestError():
            return ApiError(400, str(error), param=error.param, code="invalid_value")
        case errors.QueueFullError():
            wait_s = error.retry_after_s
            return ApiError(429, str(error), code="queue_full", retry_after_s=wait_s)
        case errors.RequestFailedError():
            return ApiError(500, str(error), code="request_failed")
        case errors.HelperFailedError():
            code = "helper_failed"
            return ApiError(503, str(error), code=code, retry_after_s=_RETRY_AFTER_S)
        case errors.EngineDeadError():
            code = getattr(error, "code", "engine_died")
            return ApiError(503, str(error), code=code, retry_after_s=_RETRY_AFTER_S)
        case errors.ModelError():
            message = "The model's files cannot be used for this; the server's log says why."
            return ApiError(500, message, code="model_error")
    return ApiError(500, "The server made a mistake; its log has the details.", code="internal")


def error_response(error: BaseException) -> Response:
    found = api_error(error)
    headers = {}
    if found.retry_after_s is not None:
        headers["retry-after"] = str(found.retry_after_s)
    if found.status == 401:
        headers["www-authenticate"] = "Bearer"
    if found.close:
        headers["connection"] = "close"
    return Response(
        found.body(), status_code=found.status, headers=headers, media_type="application/json"
    )


def log_failure(log: logging.Logger, error: BaseException) -> None:
    """Logs one line for an error that is meant for people, type and stack for any other: its own
    text may quote a prompt, so it is not logged."""
    if isinstance(error, ApiError | errors.RequestError):
        log.debug("A request was refused: %s.", type(error).__name__)
    elif isinstance(error, errors.UnisonoError):
        log.warning("A request failed: %s: %s", type(error).__name__, error)
    else:
        stack = "".join(traceback.format_tb(error.__traceback__))
        log.error("A request failed with %s at\n%s", type(error).__name__, stack)
