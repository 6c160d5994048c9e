"""Is this package what it was, and does it, or a server, give the vectors that were judged?"""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from pydantic import ValidationError

from exporter.errors import BadInput
from exporter.hashing import sha256_file
from exporter.manifest import MANIFEST_NAME
from exporter.packages.assemble import Packager
from exporter.packages.golden import Golden
from exporter.packages.manifest import PackagedArtifact, PackageManifest
from exporter.packages.server import Status, verify_server
from exporter.packages.signature import SIGNATURE_NAME, signature_failure
from exporter.packages.sums import check_sums
from exporter.records import Record
from exporter.registry import PACKAGES, resolve, resolve_place
from exporter.runtimes.server import ServerEncoder

R = TypeVar("R", bound=Record)
SHOWN_PROBLEMS = 5


class Proof(NamedTuple):
    """A file in a runtime. `failures`: a line for each thing in which it is not what was judged.

    `told`: what to say where there is none; `status`: what such a proof is worth.
    """

    name: str
    failures: Sequence[str]
    told: str = ""
    status: Status = "pass"


class VerifyPackaged(Protocol):
    """Runs a packaged artifact in the consumer's runtimes. Raises MissingDependency without.

    `settings`: options of this consumer's own, as keywords; most have none.
    """

    def __call__(
        self,
        folder: Path,
        entry: PackagedArtifact,
        golden: Golden,
        *,
        threads: int | None = None,
        **settings: Any,
    ) -> Sequence[Proof]: ...


class Check(Record):
    """One thing that was looked at."""

    name: str
    status: Status
    detail: str


class VerifyReport(Record):
    """What `lawvault verify` found. `verdict` is fail where any check failed."""

    package: str
    target: str
    checks: tuple[Check, ...]
    verdict: Literal["pass", "fail"]


def verify_package(
    folder: Path,
    *,
    server: ServerEncoder | None = None,
    threads: int | None = None,
    settings: Mapping[str, Any] | None = None,
    public_key: Path | None = None,
) -> VerifyReport:
    """Check every file, then the golden vectors: in the package's own runtime, or on a server.

    `public_key`: of who must have signed it; nothing is run where the signature does not hold.
    `settings`: options of one consumer's own, refused for packages that have none such.
    Raises BadInput for a folder that is no package, MissingDependency without the runtime.
    """
    problems = check_sums(folder)
    more = len(problems) - SHOWN_PROBLEMS
    told = "; ".join(problems[:SHOWN_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
    checks = [
        Check(
            name="files",
            status="fail" if problems else "pass",
            detail=told or "every file has its SHA-256",
        )
    ]
    if problems:  # nothing that was edited is run
        return _report(folder, "files", checks)
    signed = _signature(folder, public_key)
    checks += signed
    if any(check.status == "fail" for check in signed):
        return _report(folder, "files", checks)
    manifest = read_package(folder)
    # SHA256SUMS can be written anew by anyone; the manifest names what the packager wrote.
    other = [
        record.path
        for record in manifest.files
        if not (folder / record.path).is_file()
        or sha256_file(folder / record.path) != record.sha256
    ]
    if other:
        told = f"{', '.join(other[:SHOWN_PROBLEMS])}: not what was packaged"
        checks.append(Check(name="manifest", status="fail", detail=told))
        return _report(folder, "files", checks)  # nothing that was edited is run
    if server is not None:
        entry = manifest.artifacts[0]
        golden = read_record(folder / entry.golden, Golden)
        found = verify_server(server, golden, entry.artifact)
        checks += [Check(name=name, status=status, detail=detail) for name, status, detail in found]
        return _report(folder, server.name, checks)
    packager: Packager = resolve(PACKAGES, manifest.package, what="package")
    verify: VerifyPackaged = resolve_place(packager.verify)
    taken = inspect.signature(verify).parameters
    for option in settings or {}:
        if option not in taken:
            raise BadInput(f"packages for {manifest.package} take no --{option.replace('_', '-')}")
    for entry in manifest.artifacts:
        golden = read_record(folder / entry.golden, Golden)
        for proof in verify(folder, entry, golden, threads=threads, **(settings or {})):
            failed = proof.failures
            good = proof.told or f"ids and vectors of {len(golden.texts)} texts agree"
            told = "; ".join(failed[:SHOWN_PROBLEMS]) or good
            status: Status = "fail" if failed else proof.status
            checks.append(Check(name=proof.name, status=status, detail=told))
    return _report(folder, "packaged file", checks)


def _signature(folder: Path, key: Path | None) -> list[Check]:
    """Return what there is to say of a package's signature, nothing where there is none."""
    if key is not None:
        failure = signature_failure(folder, key)
        status: Status = "fail" if failure else "pass"
        return [Check(name="signature", status=status, detail=failure or f"made with {key.name}")]
    if (folder / SIGNATURE_NAME).is_file():
        told = "signed by someone; --public-key FILE says whether it was its maker"
        return [Check(name="signature", status="info", detail=told)]
    return []


def read_package(folder: Path) -> PackageManifest:
    """Return the manifest of a package. Raises BadInput."""
    return read_record(folder / MANIFEST_NAME, PackageManifest)


def read_record(path: Path, kind: type[R]) -> R:
    """Return a record of a package. Raises BadInput naming the file and the key."""
    if not path.is_file():
        raise BadInput(f"'{path}' is missing; it is no package of this tool")
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"'{path}': {where or 'content'}: {first['msg']}; package again") from None


def _report(folder: Path, target: str, checks: list[Check]) -> VerifyReport:
    failed = any(check.status == "fail" for check in checks)
    return VerifyReport(
        package=str(folder),
        target=target,
        checks=tuple(checks),
        verdict="fail" if failed else "pass",
    )
