"""`extauthz serve`: run the decision server until SIGTERM or SIGINT."""

import os
import sys
from pathlib import Path

import click
import msgspec

from extauthz.cli import ExitCode

EPILOG = """\b
Examples:
  extauthz serve --config extauthz.yaml
  extauthz serve --config extauthz.yaml --check-config
  extauthz serve --set bundle.directory=examples/banking --set listen.address=unix:/run/extauthz/check.sock
  EXTAUTHZ_JOURNAL__DIRECTORY=/tmp/journal extauthz serve --config extauthz.yaml

\b
Without a usable bundle, or before the keys of its issuers have arrived, the server runs but is not ready:
it answers every Check that it cannot decide with 503 and recovers by itself.

\b
Exit codes: 0 stopped as asked, 2 wrong usage, 3 wrong configuration, 4 a port, key or directory cannot be used.
"""


@click.command(epilog=EPILOG)
@click.option(
    "--config", type=click.Path(path_type=Path), envvar="EXTAUTHZ_CONFIG", help="The server config, a YAML file."
)
@click.option(
    "--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="Set one value; wins over all else."
)
@click.option("--check-config", is_flag=True, help="Read the configuration, say whether it is right, and exit.")
@click.option(
    "--ports-file", type=click.Path(path_type=Path), help="Write the addresses here as JSON once the server listens."
)
@click.option("--supervise", type=int, hidden=True, help="Supervise workers by the plan in this open file.")
@click.option("--worker", hidden=True, help="Be a worker of the supervisor at the other end of these sockets.")
def command(
    config: Path | None,
    assignments: tuple[str, ...],
    check_config: bool,  # noqa: FBT001 - click passes flags as booleans
    ports_file: Path | None,
    supervise: int | None,
    worker: str | None,
) -> None:
    """Run the decision server."""
    # The core of grpc writes lines of its own to stderr; what matters of them we say ourselves.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # For the stock transport: grpc's polling thread reads the sockets itself. Otherwise a flood on one connection holds
    # up the messages of another until their Checks are given up. A grpc that does not know the experiment ignores it.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    if supervise is not None:
        from extauthz.workers.supervisor import supervise as run  # noqa: PLC0415 - loads no grpc

        sys.exit(run(supervise))
    if worker is not None:
        from extauthz.app.worker import serve_worker  # noqa: PLC0415

        sys.exit(serve_worker(worker))
    from extauthz.app import StartError, build  # noqa: PLC0415 - after the lines above, which grpc reads when imported
    from extauthz.app.launch import become_supervisor  # noqa: PLC0415
    from extauthz.settings import SettingsError, load_settings  # noqa: PLC0415
    from extauthz.telemetry import configure_logs  # noqa: PLC0415

    try:
        settings = load_settings(config, os.environ, assignments)
        if check_config:
            click.echo(f"the configuration is right, digest {settings.digest}")
            return
        configure_logs(settings.telemetry.logs)
        if settings.workers.count > 1:
            become_supervisor(settings, str(ports_file.absolute()) if ports_file else "")
        server = build(settings)
        addresses = server.start()
    except SettingsError as error:
        for line in error.lines:
            click.echo(f"extauthz: {line}", err=True)
        sys.exit(ExitCode.CONFIG)
    except StartError as error:
        click.echo(f"extauthz: {error}", err=True)
        sys.exit(ExitCode.RESOURCE)
    if ports_file is not None:
        _write_whole(ports_file, msgspec.json.encode(addresses))
    server.run()


def _write_whole(path: Path, content: bytes) -> None:
    """Readers never see half of it."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(content)
    fresh.replace(path)
