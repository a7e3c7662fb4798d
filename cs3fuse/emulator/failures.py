"""How a handler says no: in one of the two channels of gRPC, or over HTTP.

Raised by the profiles, turned into answers by `gateway` and `datagateway`. Values only; safe everywhere.

Source: every CS3 response has a `status` (cs3/rpc/v1beta1/status.proto); independently a call can end with a gRPC
error and no response.
"""

from collections.abc import Mapping

import grpc


class Refusal(Exception):
    """A CS3 response whose status is not OK."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class GrpcAbort(Exception):
    """The call ends with a gRPC error and without a response."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details


class HttpRefusal(Exception):
    """An HTTP answer without a body; `status` 0 closes the connection without any answer."""

    def __init__(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.headers = dict(headers or {})
