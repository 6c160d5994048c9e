"""The Hugging Face hub: a release as one commit, which can be resumed."""

from pathlib import Path

from exporter.corpus.hub import HUB_ID
from exporter.errors import BadInput, reason_of
from exporter.progress import Stages
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
    del stages  # huggingface_hub has bars of its own
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError

    token = usable_token(get_token(), label="the hub", remedy=REMEDY)
    api = HfApi(token=token)
    where, private = prepared.publication.repository, prepared.publication.private
    try:
        api.create_repo(where, private=private, exist_ok=True)
        if private and not api.repo_info(where).private:
            raise already_public(where)
        done = api.create_commit(
            where,
            operations=[
                CommitOperationAdd(path, content if isinstance(content, bytes) else str(content))
                for path, content in prepared.contents.items()
            ],
            commit_message="Artifacts that passed, with their proof",
        )
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status == 401:
            raise NotReady(
                f"the hub does not know this token (401): it has expired or was revoked; {REMEDY}"
            ) from None
        if status in (403, 404):
            raise BadInput(
                f"the hub refuses '{where}' to this token ({status}): it is someone else's, or the "
                f"token may not write; name a repository of your own, or make a token at {TOKENS}"
            ) from None
        raise BrokenOff(where, reason_of(error)) from None
    except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
        raise BrokenOff(where, reason_of(error)) from None
    return str(done.commit_url)


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
