"""ModelScope: a release as one commit, which can be resumed.

Spoken through modelscope-hub, the client that `modelscope` itself is made on; `modelscope` imports
torch where it is installed, this does not. Not by its upload_folder, which commits whatever arrived
and leaves the rest for another commit: a card would offer packages that are not there.
"""

import base64
import hashlib
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from exporter.errors import BadInput, reason_of, require
from exporter.progress import Progress, Stages
from exporter.release.publication import Content, Publication, size_of
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

if TYPE_CHECKING:
    from modelscope_hub import HubApi

NAME = "modelscope"
TOKENS = "https://modelscope.cn/my/myaccesstoken"
NAMES = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
REMEDY = f"make one that may write at {TOKENS}, then run 'ms login' or set MODELSCOPE_API_TOKEN"


def plan(folder: Path, repository: str, asked: Asked) -> Prepared:
    """Return the card, the reports and the packages of a release."""
    return plan_release(folder, repository, asked, target=NAME)


def upload(prepared: Prepared, stages: Stages) -> str:
    """Upload the files as one commit and return the repository's address. What arrived in a run
    that broke off is not sent again: ModelScope knows large files by their SHA-256.
    MODELSCOPE_ENDPOINT names another site.

    Raises MissingDependency without modelscope-hub, NotReady without a token that the site knows,
    BadInput where it refuses, BrokenOff where it cannot be reached to the end.
    """
    require("modelscope_hub")
    from modelscope_hub import HubApi, HubConfig
    from modelscope_hub.errors import (
        AuthenticationError,
        HubError,
        NotExistError,
        PermissionDeniedError,
    )

    config = HubConfig()
    config.token = usable_token(config.token, label="ModelScope", remedy=REMEDY)
    where = prepared.publication.repository
    try:
        _commit(HubApi(config), prepared, stages)
    except AuthenticationError:
        raise NotReady(
            f"ModelScope does not know this token: it has expired or was revoked; {REMEDY}"
        ) from None
    except (PermissionDeniedError, NotExistError) as error:
        raise BadInput(
            f"ModelScope refuses '{where}' to this token ({error.status_code}, {error.message}): "
            "it is someone else's, or the token may not write; name a repository of your own, or "
            f"make a token at {TOKENS}"
        ) from None
    except HubError as error:
        if error.retryable:
            raise BrokenOff(where, error.message) from None
        raise BadInput(f"ModelScope refuses '{where}' ({error.message[:200]})") from None
    except OSError as error:  # requests' errors are OSErrors
        raise BrokenOff(where, reason_of(error)) from None
    return f"{config.endpoint}/models/{where}"


def _commit(api: "HubApi", prepared: Prepared, stages: Stages) -> None:
    from modelscope_hub.constants import COMMIT_MAX_ACTIONS_PER_REQUEST as MOST_FILES

    where = prepared.publication.repository
    if len(prepared.contents) > MOST_FILES:
        raise BadInput(
            f"{len(prepared.contents):,} files are more than the {MOST_FILES:,} that ModelScope "
            "takes in one commit; leave packages out"
        )
    _create(api, prepared.publication)
    progress = stages(f"sending to {where}, bytes", prepared.publication.size_bytes)
    api.legacy.create_commit(
        where,
        "model",
        [_action(api, where, path, one, progress) for path, one in prepared.contents.items()],
        "Artifacts that passed, with their proof",
    )
    _check_arrived(api, prepared)


def _check_arrived(api: "HubApi", prepared: Prepared) -> None:
    """Raise BrokenOff unless the site lists every file in its size: whoever stands between may
    have answered in its place."""
    where = prepared.publication.repository
    listed = {file.path: file.size for file in api.list_repo_files(where, "model")}
    files = prepared.publication.files
    missing = [file.path for file in files if listed.get(file.path) != file.size_bytes]
    if missing:
        raise BrokenOff(where, f"{len(missing)} of {len(files)} files are not there: {missing[0]}")


def _create(api: "HubApi", publication: Publication) -> None:
    """Create the repository unless it is there. ModelScope would call it Apache-2.0 by itself."""
    from modelscope_hub import Visibility
    from modelscope_hub.errors import AlreadyExistsError

    where = publication.repository
    visibility = Visibility.PRIVATE if publication.private else Visibility.PUBLIC
    try:
        api.create_repo(where, "model", visibility=visibility, license=publication.licence)
    except AlreadyExistsError:
        if publication.private and api.get_repo(where, "model").visibility != Visibility.PRIVATE:
            raise already_public(where) from None


def _action(
    api: "HubApi", where: str, path: str, content: Content, progress: Progress
) -> dict[str, Any]:
    """Return a file as an action of a commit, its content stored already where it is large."""
    action = {"action": "create", "path": path, "size": size_of(content)}
    if _is_large(path, size_of(content)):
        digest = _store(api, where, content, progress)
        return action | {"type": "lfs", "sha256": digest, "encoding": "", "content": ""}
    held = content if isinstance(content, bytes) else content.read_bytes()
    progress(len(held))
    encoded = base64.b64encode(held).decode()
    return action | {"type": "normal", "sha256": "", "encoding": "base64", "content": encoded}


def _is_large(path: str, size: int) -> bool:
    """Return whether a file is stored by its SHA-256. The site reads cards and configurations
    itself, so they never are."""
    from modelscope_hub import constants as theirs

    name = Path(path).name
    if not size or name.upper() in theirs.UPLOAD_INLINE_METADATA_PATHS:
        return False
    apart = Path(name).suffix.lower() in theirs.MODEL_LFS_SUFFIX
    return apart or size > theirs.UPLOAD_LFS_FORCE_THRESHOLD_BYTES


def _store(api: "HubApi", where: str, content: Content, progress: Progress) -> str:
    """Send a large file unless it arrived already. Returns its SHA-256."""
    size = size_of(content)
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        # One at a time: an address to send to does not live as long as many large uploads take.
        wanted = api.legacy.validate_blobs(where, "model", [{"oid": digest, "size": size}])
        address = wanted.get(digest)
        if address is None:
            progress(size)
        else:
            file.seek(0)
            api.legacy.upload_blob(address, _Counted(file, progress), size)
    return digest


class _Counted:
    """A file that tells how much of it was read."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file, self._progress = file, progress

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        chunk = self._file.read(size)
        self._progress(len(chunk))
        return chunk


TARGET = Target(
    label="ModelScope",
    is_name=lambda name: NAMES.fullmatch(name) is not None,
    shape="modelscope://OWNER/NAME",
    plan=plan,
    upload=upload,
)
