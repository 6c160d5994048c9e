"""lawvault verify: a package's files and vectors, or those of a server that runs it."""

from pathlib import Path

import click
from rich.table import Table

from exporter.cli.common import node_modules_option, server_options
from exporter.cli.console import open_console, styled
from exporter.cli.terminal import echo
from exporter.errors import BadInput
from exporter.packages.verify import VerifyReport, verify_package
from exporter.records import canonical_json
from exporter.runtimes.server import Api, ServerEncoder

STYLE = {"pass": "green", "info": "dim", "warning": "yellow", "fail": "red"}


@click.command()
@click.argument("package", type=click.Path(path_type=Path))
@server_options
@click.option("--model", help="The model's name on that server. Default: the package's.")
@click.option(
    "--runtime",
    multiple=True,
    metavar="NAME",
    help="transformers.js: prove it only in node, chromium or webgpu. May be repeated.",
)
@click.option(
    "--public-key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Whose signature the package must have.",
)
@node_modules_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def verify(
    package: Path,
    url: str | None,
    model: str | None,
    api: Api,
    timeout_s: float,
    runtime: tuple[str, ...],
    public_key: Path | None,
    node_modules: Path | None,
    *,
    as_json: bool,
    debug: bool,
) -> int:
    """Check a package's files, and its golden vectors in its own runtime or on a server.

    Exit code 1 where a check fails; warnings and information do not fail.
    """
    del debug  # main() reads it
    if url is None and model is not None:
        raise BadInput("--model is the name on a server; pass its --url too")
    server = None
    if url is not None:
        from exporter.packages.verify import read_package

        found = read_package(package)
        name = model or found.model_tag
        if name is None:
            raise BadInput(
                f"'{package}' is a package for {found.package}, which has no server; "
                "leave --url out"
            )
        server = ServerEncoder(url, name, api=api, timeout_s=timeout_s, dim=0)
    given = {"runtime": runtime or None, "node_modules": node_modules}
    settings = {name: value for name, value in given.items() if value is not None}
    if server is not None and settings:
        raise BadInput("--runtime and --node-modules are for packaged files; leave --url out")
    report = verify_package(package, server=server, settings=settings, public_key=public_key)
    if as_json:
        click.echo(canonical_json(report), nl=False)
    else:
        _print(report)
    return int(report.verdict == "fail")


def _print(report: VerifyReport) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("check", "result", "detail"):
        table.add_column(column, overflow="fold")
    for check in report.checks:
        table.add_row(check.name, styled(check.status, STYLE[check.status]), check.detail)
    open_console().print(table, highlight=False)
    echo(f"{report.package} ({report.target}): {report.verdict}")
