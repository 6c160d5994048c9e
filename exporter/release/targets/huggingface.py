"""The Hugging Face hub: a release as one commit, which can be resumed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.corpus.hub import HUB_ID
from exporter.errors import BadInput, LawvaultError, reason_of
from exporter.progress import Stages, silent
from exporter.release.target import (
    Asked,
    BrokenOff,
    NotReady,
    Prepared,
    Target,
    already_public,
    usable_token,
)
from exporter.release.whole_release import plan_release

NAME = "hf"
TOKENS = "https://huggingface.co/settings/tokens"
LATER = (408, 429)
"""What a hub answers that has no time now."""
REMEDY = f"make one that may write at {TOKENS}, then run 'hf auth login' or set HF_TOKEN"


def plan(folder: Path, repository: str, asked: Asked) -> Prepared:
    """Return the card, the reports and the packages of a release."""
    return plan_release(folder, repository, asked, target=NAME)


def upload(prepared: Prepared, stages: Stages) -> str:
    """Upload the files as one commit and return its address. What arrived in a run that broke off
    is not sent again: the hub knows large files by their SHA-256. HF_ENDPOINT names another hub.

    Raises NotReady without a token that the hub knows, BadInput where it refuses, BrokenOff where
    it cannot be reached to the end.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    token = usable_token(get_token(), label="the hub", remedy=REMEDY)
    api = HfApi(token=token)
    where, private = prepared.publication.repository, prepared.publication.private
    try:
        api.create_repo(where, private=private, exist_ok=True)
        if private and not api.repo_info(where).private:
            raise already_public(where)
        with _bars(shown=stages is not silent):
            done = api.create_commit(
                where,
                operations=[
                    CommitOperationAdd(path, one if isinstance(one, bytes) else str(one))
                    for path, one in prepared.contents.items()
                ],
                commit_message="Artifacts that passed, with their proof",
            )
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        raise _refusal(where, status, error.server_message or reason_of(error)) from None
    except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
        raise BrokenOff(where, reason_of(error)) from None
    return str(done.commit_url)


@contextmanager
def _bars(*, shown: bool) -> Iterator[None]:
    """Hide huggingface_hub's own progress unless it is to be shown."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    hidden = are_progress_bars_disabled()
    if not shown:
        disable_progress_bars()
    try:
        yield
    finally:
        if not shown and not hidden:
            enable_progress_bars()


def _refusal(where: str, status: int | None, said: str) -> LawvaultError:
    """Return what an answer of the hub means for whoever publishes."""
    if status == 401:
        return NotReady(
            f"the hub does not know this token (401): it has expired or was revoked; {REMEDY}"
        )
    if status in (403, 404):
        return BadInput(
            f"the hub refuses '{where}' to this token ({status}): it is someone else's, or the "
            f"token may not write; name a repository of your own, or make a token at {TOKENS}"
        )
    if status is not None and 400 <= status < 500 and status not in LATER:
        return BadInput(f"the hub refuses '{where}' ({said[:200]})")
    return BrokenOff(where, said)


def is_name(name: str) -> bool:
    """Return whether the hub takes a name of a repository, with its owner's."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name.isascii() and HUB_ID.fullmatch(name) is not None


TARGET = Target(
    label="the Hugging Face hub", is_name=is_name, shape="OWNER/NAME", plan=plan, upload=upload
)
