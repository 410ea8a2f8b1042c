"""AccountService: whom the gateway takes a caller for."""

from segdepth_gateway.auth import Authenticator
from segdepth_gateway.calls import Calls, Context
from segdepth_gateway.metrics import Metrics
from segdepth_protos.v1 import account_pb2, account_pb2_grpc

NAME = account_pb2.DESCRIPTOR.services_by_name["AccountService"].full_name


class AccountService(account_pb2_grpc.AccountServiceServicer):
    """Says who a token belongs to, so that services in front of the gateway need no tokens of their own."""

    def __init__(self, authenticator: Authenticator, metrics: Metrics):
        self._authenticator = authenticator
        self._calls = Calls(metrics)

    async def WhoAmI(self, request: account_pb2.WhoAmIRequest, context: Context) -> account_pb2.WhoAmIResponse:  # noqa: ARG002 - the caller is in the metadata
        """Principal and scopes of the call's token."""
        async with self._calls.answering("WhoAmI", context):
            principal = self._authenticator.principal(context.invocation_metadata())
            return account_pb2.WhoAmIResponse(principal=principal.name, scopes=sorted(principal.scopes))
        raise AssertionError("answering() ends a call that failed")
