"""`decopilot nats-config`: what may be asked for, and that it is written."""

from pathlib import Path
from typing import Annotated

import typer

from decopilot.cli.errors import CliError


def nats_config(
    *,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where nats.conf and the files with the secrets are written.")
    ] = Path("nats"),
    prints: Annotated[
        bool,
        typer.Option(
            "--print",
            help="Print the configuration and write nothing: for passwords it has variables such as "
            "$DECOPILOT_NATS_PASSWORD_GATEWAY, which nats-server takes from its environment.",
        ),
    ] = False,
    url: Annotated[
        str, typer.Option(metavar="URL", help="Where the services find the server.")
    ] = "nats://127.0.0.1:4222",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where the server listens: 0.0.0.0 is every interface.")
    ] = "0.0.0.0:4222",
    monitor: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Where it tells how it is, to anybody who asks, without a password."),
    ] = "127.0.0.1:8222",
    store_dir: Annotated[Path, typer.Option(metavar="DIR", help="Where the server keeps its data.")] = Path("/data"),
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="The server's certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="The key of it.")] = None,
    tls_ca: Annotated[Path | None, typer.Option(metavar="FILE", help="What the services know it by.")] = None,
    tls_verify: Annotated[
        bool, typer.Option("--tls-verify", help="Let in only whoever shows a certificate of that CA, too.")
    ] = False,
    change: Annotated[
        bool, typer.Option("--change", help="Write DIR anew with other options than it was written with.")
    ] = False,
    new_passwords: Annotated[
        bool,
        typer.Option("--new-passwords", help="Make all passwords new; else those that are there in DIR are kept."),
    ] = False,
) -> None:
    """Write the configuration of a NATS server in which each service has a user of its own.

    A user may do what its service does, and no more. Beside nats.conf stands a file per user, such as gateway.env, with
    DECOPILOT_NATS_URL, DECOPILOT_NATS_USER and DECOPILOT_NATS_PASSWORD: give each service its own, and no other one.
    All are readable for you alone. operator.env is yours: that user may do everything. users.conf holds the users and
    nothing else, to be included by a server that is configured otherwise, as by NATS's Helm chart.

    Written anew, as after an update, DIR needs the options that it was written with; others need --change.
    """
    from decopilot.cli.nats_server import Server, Tls, configuration, write  # noqa: PLC0415 - for a quick `--help`

    tls = None
    if tls_cert is not None and tls_key is not None and tls_ca is not None:
        tls = Tls(tls_cert, tls_key, tls_ca, verify=tls_verify)
    elif tls_verify or (tls_cert, tls_key, tls_ca) != (None, None, None):
        message = "For TLS, --tls-cert, --tls-key and --tls-ca are needed."
        raise CliError(message)
    server = Server(listen, monitor, store_dir, tls)
    if prints:
        typer.echo(configuration(server), nl=False)
        return
    files = write(folder, server, url=url, change=change, new_passwords=new_passwords)
    others = ["users.conf", *(file.name for file in files.values())]
    typer.echo(f"Written, readable for you alone: {folder / 'nats.conf'}, {', '.join(others)}")
