"""lawvault guard: the space of an index, for an application to hold its embed function against."""

from pathlib import Path
from typing import Any

import click

from exporter.cli.common import server_options
from exporter.cli.console import open_console, print_rows
from exporter.cli.terminal import echo
from exporter.errors import BadInput
from exporter.records import canonical_json
from exporter.runtimes.server import Api, ServerEncoder
from exporter.space import Space
from exporter.vectors.probes import Role, rendered


@click.command()
@click.argument("place", type=click.Path(path_type=Path))
@click.option("--table", default="laws_vectors", show_default=True, help="Name of a LanceDB table.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write space.json and the guards here: guard.py, guard.mjs, guard.go.",
)
@server_options
@click.option("--model", help="The model's name on that server.")
@click.option(
    "--role",
    type=click.Choice(["query", "document"]),
    default="query",
    show_default=True,
    help="Whose prompt the server's texts get.",
)
@click.option("--short", is_flag=True, help="Leave out the long text that shows a server's cut.")
@click.option("--force", is_flag=True, help="Replace files in --output.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def guard(
    place: Path,
    *,
    table: str,
    output: Path | None,
    url: str | None,
    model: str | None,
    api: Api,
    role: Role,
    short: bool,
    timeout_s: float,
    force: bool,
    as_json: bool,
    debug: bool,
) -> int:
    """Tell what space the vectors of PLACE lie in, and check a server against it.

    PLACE: an artifact, a package, a space.json, or a LanceDB database with a table that 'lawvault
    index' made. Exit code 1 where the server's vectors lie in another space.
    """
    del debug  # main() reads it
    if (url is None) != (model is None):
        raise BadInput("--url and --model go together; pass both")
    space = _space(place, table)
    if output is not None:
        _write(output, space, force=force)
    if url is None or model is None:
        _tell(space, output, as_json=as_json)
        return 0
    server = ServerEncoder(url, model, api=api, timeout_s=timeout_s)
    found = _check(space, server, role, short=short)
    if as_json:
        click.echo(canonical_json(found), nl=False)
    else:
        echo(f"{found['verdict']}: {found['said']}")
    return int(not found["ok"])


def _space(place: Path, table: str) -> Space:
    from exporter.guards.read import read_space
    from exporter.tables.open_table import holds_tables, origin_in

    if not holds_tables(place):
        return read_space(place)
    origin = origin_in(place, table)
    if origin is None:
        raise BadInput(
            f"'{place}' table '{table}' does not say what made it; name the package whose file "
            "asks it, or build a table with 'lawvault index'"
        )
    return origin.space


def _write(output: Path, space: Space, *, force: bool) -> None:
    from exporter.guards.files import write_guard
    from exporter.staging import staged_folder

    if space.probes is None:
        raise BadInput("an artifact's space holds no probes; name a package or a table of it")
    with staged_folder(output, force=force) as stage:
        write_guard(stage, space)


def _check(space: Space, server: ServerEncoder, role: Role, *, short: bool) -> dict[str, Any]:
    """Ask a server for the probes, with the space's own prompts."""
    from exporter.guards.python import check

    def embed(text: str, title: str = "") -> list[float]:
        given = rendered(space.prompts, role, title, text)
        return [float(value) for value in server.raw([given])[0]]

    return check(space, embed, role=role, long=not short)


def _tell(space: Space, output: Path | None, *, as_json: bool) -> None:
    if as_json:
        click.echo(canonical_json(space), nl=False)
        return
    window = "none" if space.sliding_window is None else str(space.sliding_window)
    rows = [
        ("model", f"{space.model_name} ({space.model_sha256[:12]})"),
        ("artifact", space.artifact),
        ("pipeline", " > ".join(space.pipeline)),
        ("question", space.prompts.query),
        ("document", space.prompts.document),
        ("components", ", ".join(map(str, dict.fromkeys((space.dim, *space.dims))))),
        ("sliding window", window),
        ("limit", f"{space.max_tokens:,} tokens"),
    ]
    if space.probes is not None:
        short = space.probes.query[0]
        known = (
            "measured"
            if space.probes.tolerance_from == "measured"
            else "from the default recipe's limits"
        )
        rows.append(("tolerance", f"{short.tolerance:.1e} as 1 - cosine, {known}"))
    print_rows(open_console(), rows)
    if output is not None:
        echo(f"{output}: space.json, guard.py, guard.mjs, guard.go", err=True)
