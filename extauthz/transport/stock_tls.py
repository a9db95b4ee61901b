"""TLS of the stock transport, as grpc wants to have it."""

import grpc

from extauthz.transport.tls import Keeper, TlsOptions, load


def server_credentials(options: TlsOptions) -> grpc.ServerCredentials:
    """Credentials that look at the files at every handshake. Raises TlsError when they cannot be used now."""
    keeper = Keeper(options, _configuration)
    return grpc.dynamic_ssl_server_credentials(
        keeper.made,
        keeper.fetch,  # type: ignore[arg-type]  # grpc documents None as "no change", its type stubs forget it
        require_client_authentication=bool(options.client_ca),
    )


def _configuration(options: TlsOptions) -> grpc.ServerCertificateConfiguration:
    key, chain, client_ca = load(options)
    return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=client_ca)
