"""Who is answered: everybody, who is in our own network, or who says a secret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..core.secret import Secret, is_known
from .networks import is_local, own_networks
from .routes import Refusal

NOT_LOCAL = Refusal(403, "this peer answers only its own network", must_close=True)
NO_SECRET = Refusal(401, "this peer wants its secret: kacheryfs peer add URL --secret-file FILE", must_close=True)
"""Of 80 characters at most: who asks shows no more. Closed, so that a guess costs a connection, and who is told
the secret meanwhile comes anew."""


class Access(Protocol):
    """Decides before anything is looked up; None: welcome."""

    def refuse_address(self, host: str) -> Refusal | None: ...

    def refuse_request(self, authorization: str | None) -> Refusal | None:
        """``authorization``: the header's value."""


class Everybody:
    def refuse_address(self, host: str) -> Refusal | None:
        return None

    def refuse_request(self, authorization: str | None) -> Refusal | None:
        return None


class OwnNetwork(Everybody):
    """Only loopback, private and link-local addresses, and the networks that this machine stands in now.

    A reverse proxy or a tunnel that ends on this machine makes everybody local.
    """

    def refuse_address(self, host: str) -> Refusal | None:
        return None if is_local(host, ()) or is_local(host, own_networks()) else NOT_LOCAL


class KnownSecret(Everybody):
    """Only who says one of the secrets, wherever from."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._secrets = secrets

    def refuse_request(self, authorization: str | None) -> Refusal | None:
        return None if is_known(authorization, self._secrets) else NO_SECRET
