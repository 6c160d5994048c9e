"""What would go to the hub, and who may see which texts; then the upload, which can be resumed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.repocard import metadata_load

from exporter.checkpoint.contents import Checkpoint
from exporter.errors import BadInput, GateClosed, LawvaultError, reason_of
from exporter.manifest import MANIFEST_NAME
from exporter.packages.assemble import Packager
from exporter.packages.manifest import PackageManifest
from exporter.packages.signature import SIGNATURE_NAME, sign
from exporter.packages.sums import check_sums
from exporter.packages.terms import Terms, read_terms
from exporter.packages.verify import read_package
from exporter.parity.results import ParityReport
from exporter.records import Record, canonical_json
from exporter.registry import PACKAGES, resolve
from exporter.report.html import render_html
from exporter.report.markdown import render_markdown
from exporter.report.write import HTML_NAME, JSON_NAME, MARKDOWN_NAME, read_report

CARD_NAME = "README.md"
FOLDER = "packages"
TOKENS = "https://huggingface.co/settings/tokens"

Content = Path | bytes
"""A file to upload: where it lies, or what it holds."""


class MissingToken(LawvaultError):
    """Nobody is logged in at the hub. Exit code 3."""

    exit_code = 3


class PublishedFile(Record):
    """A file of the repository. `texts`: how many of the user's own documents and questions it
    shows."""

    path: str
    size_bytes: int
    texts: int = 0


class Publication(Record):
    """What would be uploaded. `overridden`: packages without a pass, and the reason given."""

    repository: str
    licence: str
    packages: tuple[str, ...]
    overridden: dict[str, str]
    files: tuple[PublishedFile, ...]

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def texts(self) -> int:
        """Return the user's own texts that any file shows, the same one counted in each."""
        return sum(file.texts for file in self.files)


def plan(
    folder: Path,
    repository: str,
    *,
    checkpoint: Checkpoint,
    with_texts: bool = True,
    override_reason: str | None = None,
    key: Path | None = None,
) -> tuple[Publication, Mapping[str, Content]]:
    """Return what of a release goes along, and every file by its path in the repository.

    folder: holds parity.json, the card (README.md) and packages/, as `release` and `package` leave
    them. Nothing else of it is published. Without `with_texts` reports keep their figures and lose
    the user's texts. `key`: signs every package. Raises GateClosed for a package that did not
    pass, unless the reason that it was packaged for is given again; BadInput for one that is
    damaged or holds a page of the user's articles without `with_texts`, and for a card of another
    licence than the checkpoint's.
    """
    report = read_report(folder / JSON_NAME)
    card = folder / CARD_NAME
    if not card.is_file():
        raise BadInput(
            f"'{folder}' has no card; write it: lawvault card --report {folder / JSON_NAME}"
        )
    licence = _licence(card, read_terms(checkpoint))
    files: dict[str, Content] = {
        CARD_NAME: card,
        **_report_files(folder, report, with_texts=with_texts),
    }
    in_report = _texts_of(report) if with_texts else 0
    texts = dict.fromkeys((JSON_NAME, MARKDOWN_NAME, HTML_NAME), in_report)
    names, overridden = [], {}
    for package in sorted((folder / FOLDER).glob("*")):
        if not package.is_dir() or package.name.startswith("."):
            continue
        manifest = _sound(package)
        reason = _reason(package, manifest, override_reason)
        if reason is not None:
            overridden[package.name] = reason
        names.append(package.name)
        packager: Packager = resolve(PACKAGES, manifest.package, what="package")
        shown = packager.shown_texts(package) if packager.shown_texts else 0
        if shown and not with_texts:
            raise BadInput(
                f"'{package}' has a search page with {shown:,} of your articles; package it again "
                "without --corpus, or publish with texts"
            )
        for path in sorted(p for p in package.rglob("*") if p.is_file() and not p.is_symlink()):
            if path.parent.name != "__pycache__":
                files[path.relative_to(folder).as_posix()] = path
        if key is not None:
            files[f"{FOLDER}/{package.name}/{SIGNATURE_NAME}"] = sign(package, key)
        if shown:
            texts[f"{FOLDER}/{package.name}/{MANIFEST_NAME}"] = shown
    if not names:
        raise BadInput(f"'{folder}' holds no {FOLDER}/; package what passed: lawvault package")
    made = tuple(
        PublishedFile(path=name, size_bytes=_size(content), texts=texts.get(name, 0))
        for name, content in files.items()
    )
    found = Publication(
        repository=repository,
        licence=licence,
        packages=tuple(names),
        overridden=overridden,
        files=made,
    )
    return found, files


def upload(
    publication: Publication,
    files: Mapping[str, Content],
    *,
    token: str | None,
    private: bool = False,
) -> str:
    """Upload the files as one commit and return its address. What arrived in a run that broke off
    is not sent again: the hub knows large files by their SHA-256. HF_ENDPOINT names another hub.

    Raises MissingToken, BadInput where the hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    if not token:
        raise MissingToken(
            f"no token for the hub; make one that may write at {TOKENS}, then run 'hf auth login' "
            "or set HF_TOKEN"
        )
    api = HfApi(token=token)
    where = publication.repository
    try:
        api.create_repo(where, private=private, exist_ok=True)
        done = api.create_commit(
            where,
            operations=[
                CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
                for path, content in files.items()
            ],
            commit_message="Artifacts that passed, with their proof",
        )
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403, 404):
            raise BadInput(
                f"the hub refuses '{where}' to this token ({status}): it is someone else's, or the "
                f"token may not write; name a repository of your own, or make a token at {TOKENS}"
            ) from None
        raise BadInput(_broken_off(where, error)) from None
    except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
        raise BadInput(_broken_off(where, error)) from None
    return str(done.commit_url)


def _broken_off(where: str, error: Exception) -> str:
    reason = reason_of(error)[:200]
    return (
        f"the upload to '{where}' broke off ({reason}); run it again, large files that arrived are "
        "not sent twice"
    )


def without_texts(report: ParityReport) -> ParityReport:
    """Return a report with every figure and verdict, and none of the user's texts."""

    def cleared(value: Any) -> Any:
        if isinstance(value, dict):
            empty: dict[str, Any] = {
                "worst": [],
                "changed_answers": [],
                "articles": {},
                "asked": {},
            }
            return {key: empty[key] if key in empty else cleared(one) for key, one in value.items()}
        return [cleared(one) for one in value] if isinstance(value, list) else value

    data = cleared(report.model_dump(mode="json"))
    for artifact in data["artifacts"]:
        artifact["first_token_difference"] = None
    return ParityReport.model_validate(data)


def _report_files(folder: Path, report: ParityReport, *, with_texts: bool) -> dict[str, Content]:
    if with_texts:
        names = (JSON_NAME, MARKDOWN_NAME, HTML_NAME)
        return {name: folder / name for name in names if (folder / name).is_file()}
    bare = without_texts(report)
    return {
        JSON_NAME: canonical_json(bare).encode(),
        MARKDOWN_NAME: render_markdown(bare).encode(),
        HTML_NAME: render_html(bare).encode(),
    }


def _texts_of(report: ParityReport) -> int:
    """Return how many documents and questions of the corpus a report shows."""
    worst = {
        text["id"] for one in _records(report.model_dump(mode="json"), "worst") for text in one
    }
    return len(worst | set(report.articles) | set(report.asked))


def _records(value: Any, key: str) -> Iterator[Any]:
    if isinstance(value, dict):
        for name, one in value.items():
            if name == key:
                yield one
            else:
                yield from _records(one, key)
    elif isinstance(value, list):
        for one in value:
            yield from _records(one, key)


def _sound(package: Path) -> PackageManifest:
    problems = check_sums(package)
    if problems:
        raise BadInput(f"'{package}' is not what was packaged ({problems[0]}); package it again")
    return read_package(package)


def _reason(package: Path, manifest: PackageManifest, given: str | None) -> str | None:
    """Return why a package without a pass is published, None for one that passed."""
    for entry in manifest.artifacts:
        verdict = entry.verdict
        if verdict.verdict == "pass":
            continue
        if verdict.override_reason is None or given != verdict.override_reason:
            raise GateClosed(
                f"'{package}' holds {entry.artifact.name}, which did not pass ({verdict.verdict}); "
                "to publish it give again the reason that it was packaged for: "
                f"--override-verdict {verdict.override_reason!r}"
            )
        return given
    return None


def _licence(card: Path, terms: Terms) -> str:
    """Return the card's licence. Raises BadInput where it is none, or another than the model's."""
    stated: Any = metadata_load(card) or {}
    licence = stated.get("license")
    if not licence:
        raise BadInput(f"'{card}' states no licence; fill in 'license:' in its front matter")
    if terms.licence is not None and licence != terms.licence:
        raise BadInput(
            f"'{card}' states the licence {licence}, the checkpoint's own card {terms.licence}; "
            "mend one of them"
        )
    if terms.gemma and licence != "gemma":
        raise BadInput(
            f"'{card}' states the licence {licence}, but the base model is Gemma's, whose terms "
            "bind what is made of it: state 'license: gemma' in both cards"
        )
    return str(licence)


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size
