"""``ado api``: one API replica, or its types."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from cli.control_plane import embedded
from cli.declarations import App, Parameter
from cli.errors import fail, usage
from cli.extras import need
from cli.parameters import Descriptor, Port
from cli.server_start import cannot_listen

replica = App(name="api", help="Run one API replica, or print its types.")


@replica.command
def types() -> None:
    """Print the TypeScript declaration that GET /trpc/ado.d.ts serves."""
    need("server")
    from app.core.reasons import REFUSALS, WIRE_REFUSALS
    from app.procedures.table import registry
    from app.rpc.server.typescript import declaration

    print(declaration(registry(), embedded.version(), (*REFUSALS, *WIRE_REFUSALS)), end="")


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class ListenOptions:
    """Where a replica listens, and the certificates that it uses."""

    host: str | None = None
    "Address to listen on."
    port: Port = None
    "Port to listen on."
    tls_cert: str | None = None
    "Certificate to serve TLS with, and its chain, in PEM. It is read again when the file changes."
    tls_key: str | None = None
    "Its key in PEM, where it is not in the same file."
    tls_client_ca: str | None = None
    "CA in PEM that signed the certificates which workers must then present."


_FROM_ENVIRONMENT = ListenOptions()


@replica.default
def api(*, listen: ListenOptions = _FROM_ENVIRONMENT, fd: Descriptor = None, lifeline: Descriptor = None) -> None:
    """Run one API replica on ADO_DSN."""
    need("server")
    import socket

    from app.core import logs
    from app.core.settings import SettingsError, read
    from app.replica.serve import bind, serve
    from app.replica.tls import CertificateUnusable
    from app.settings import AppSettings
    from db.errors import DatabaseError
    from db.migrate import check

    logs.configure()
    try:
        settings = read(AppSettings, **asdict(listen))
        check(settings.dsn)
        listener = socket.socket(fileno=fd) if fd is not None else bind(settings.host, settings.port)
    except SettingsError as error:
        raise usage(str(error), "ado help settings lists them") from error
    except DatabaseError as error:
        fail(error)
    except OSError as error:
        raise cannot_listen(listen.port, error) from error
    try:
        serve(settings, listener, lifeline)
    except CertificateUnusable as error:
        raise usage(f"TLS cannot be served: {error}", "check --tls-cert, --tls-key and --tls-client-ca") from error
