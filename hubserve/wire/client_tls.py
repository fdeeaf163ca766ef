"""What a client of an encrypted server trusts and presents, by curl's names."""

import ssl
from typing import NamedTuple, Tuple, Union

from hubserve.errors import ConfigError

#: in the response of an encrypted port to a request that is not encrypted
PLAIN_REFUSED = "this port speaks HTTPS"


class ClientTls(NamedTuple):
    """Options of a client's TLS.

    Attributes:
        cacert: PEM file of the authorities that the server's certificate must come from; "" for those of the system.
        cert: PEM file of the client's own certificate; "" for none.
        key: PEM file of its private key; "" if it is in ``cert``, too.
        insecure: accept any certificate, so that a machine in between can read and change everything.
    """

    cacert: str = ""
    cert: str = ""
    key: str = ""
    insecure: bool = False

    def context(self) -> ssl.SSLContext:
        """Return the context for connections.

        Raises:
            ConfigError: a file cannot be used, or options contradict one another.
        """
        if self.key and not self.cert:
            raise ConfigError(f"the key '{self.key}' has no certificate; give that, too (cert)")
        context = ssl.create_default_context()
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.cacert:
            context = _trusting(self.cacert)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert:
            self._load_pair(context)
        return context

    @property
    def verify(self) -> Union[bool, str]:
        """The argument ``verify`` of ``requests``."""
        return not self.insecure and (self.cacert or True)

    @property
    def pair(self) -> Union[str, Tuple[str, str], None]:
        """The argument ``cert`` of ``requests``."""
        return (self.cert, self.key) if self.key else self.cert or None

    def _load_pair(self, context: ssl.SSLContext) -> None:
        def no_password() -> str:
            raise ConfigError(
                f"the key of '{self.cert}' is encrypted; decrypt it: openssl pkey -in '{self.key or self.cert}' -out plain-key.pem"
            )

        try:
            context.load_cert_chain(self.cert, self.key or None, no_password)
        except (OSError, ValueError) as error:
            reason = "the key is not the certificate's" if "MISMATCH" in str(error) else getattr(error, "strerror", "") or error
            files = f"'{self.cert}' and '{self.key}' are not PEM files" if self.key else f"'{self.cert}' is not a PEM file"
            raise ConfigError(f"{files} of a certificate and its key ({reason}); give both, of one pair") from None


def _trusting(authorities: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authorities)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", "") or error
        raise ConfigError(
            f"'{authorities}' is not a PEM file of certificates of authorities ({reason}); give the one that signed the certificate"
        ) from None
