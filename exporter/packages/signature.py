"""Who made this package: sums can be made anew by anyone, a signature by its key's owner alone.

OpenSSF's model signing (https://github.com/sigstore/model-transparency), with an elliptic key of
one's own: `openssl ecparam -name prime256v1 -genkey -noout -out key.pem`, and its public half by
`openssl ec -in key.pem -pubout -out key.pub`.
"""

import tempfile
from pathlib import Path
from typing import Any

from exporter.errors import BadInput, reason_of, require

SIGNATURE_NAME = "model.sig"


def sign(folder: Path, key: Path) -> bytes:
    """Return the signature of every file of a package. The folder is not changed.

    key: a private elliptic key in PEM, without a password. Raises BadInput for another file,
    MissingDependency without model-signing.
    """
    require("model_signing")
    from model_signing import signing

    _check_key(key, "private")
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / SIGNATURE_NAME
        try:
            config = signing.Config().use_elliptic_key_signer(private_key=key)
        except (ValueError, TypeError) as error:
            raise BadInput(f"'{key}' is no private elliptic key in PEM ({_first(error)})") from None
        config.set_hashing_config(_hashing(folder)).sign(folder, made)
        return made.read_bytes()


def signature_failure(folder: Path, key: Path) -> str | None:
    """Return why a package's signature does not hold for a public key, None where it does.

    Raises BadInput for a file that is no public key, MissingDependency without model-signing.
    """
    require("model_signing")
    from model_signing import verifying

    _check_key(key, "public")
    path = folder / SIGNATURE_NAME
    if not path.is_file():
        return f"there is no {SIGNATURE_NAME}: nobody has signed it"
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except (ValueError, TypeError) as error:
        raise BadInput(f"'{key}' is no public elliptic key in PEM ({_first(error)})") from None
    try:
        config.set_hashing_config(_hashing(folder)).verify(folder, path)
    except Exception as error:  # noqa: BLE001 - whatever it raises, the signature does not hold
        return f"it does not hold for this key ({_first(error)})"
    return None


def _hashing(folder: Path) -> Any:
    from model_signing import hashing

    caches = [path for path in folder.rglob("__pycache__") if path.is_dir()]
    return hashing.Config().set_ignored_paths(
        paths=[folder / SIGNATURE_NAME, *caches], ignore_git_paths=True
    )


def _check_key(key: Path, kind: str) -> None:
    if not key.is_file():
        raise BadInput(f"no such key: '{key}'; pass the file of your {kind} key")


def _first(error: Exception) -> str:
    return reason_of(error)[:120]
