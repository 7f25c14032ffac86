"""Every error as a client sees it: OpenAI's shape, and what to do next.

Knows status codes and the tree of ``unisono.core.errors``. Tells no path, stack or prompt.
"""

from __future__ import annotations

import json

from starlette.responses import Response

from unisono.core import errors

__all__ = ["ApiError", "api_error", "bad_request", "error_response", "not_supported"]

_RETRY_AFTER_S = 5


class ApiError(Exception):
    """An answer that is an error.

    Args:
        status: HTTP status.
        message: for people: what is wrong and what to do.
        kind: OpenAI's ``type``; derived from the status where it is not given.
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
        kind: str | None = None,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind or _kind(status)
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.close = close

    def body(self) -> bytes:
        """``{"error": {"message", "type", "param", "code"}}``."""
        fields = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return json.dumps({"error": fields}).encode()


def _kind(status: int) -> str:
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
