"""Publishing: said first, refused without proof, one commit, resumed where it broke off."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_cpp")
pytest.importorskip("sentence_transformers")

from exporter.packages.sums import check_sums
from exporter.report.write import read_report
from parity_tests import publishing
from parity_tests.conftest import MINIATURE
from parity_tests.hub import OWNER, TOKEN, Hub, running_hub
from parity_tests.packaging import seal
from parity_tests.publishing import run

WHERE = f"{OWNER}/law-small"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running_hub() as found:
        # As HF_ENDPOINT does, which huggingface_hub reads once.
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", found.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found


def publish(release: Path, checkpoint: Path, *more: object, to: str = WHERE) -> int:
    return publishing.publish(release, checkpoint, *more, to=to)


def test_without_yes_it_is_only_said(
    release: Path, tiny_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(release, tiny_path) == 0
    captured = capsys.readouterr()
    assert "parity.json, shows up to " in captured.out
    assert "packages/ollama-q8_0, 17 files\n" in captured.out
    assert "licence mit, your texts among it, see above, to lawyer/law-small" in captured.out
    assert captured.err.endswith("nothing was uploaded; pass --yes to do it\n")
    assert (hub.repositories, hub.commits) == ({}, [])
    assert publish(release, tiny_path, "--json") == 0
    data: Any = json.loads(capsys.readouterr().out)
    names = {file["path"] for file in data["files"]}
    assert {"README.md", "parity.json", "parity.md", "parity.html"} <= names
    assert not any(name.startswith(("onnx-", "gguf-", "vectors", "release.json")) for name in names)


def test_what_is_published_is_what_was_packaged(
    release: Path, tiny_path: Path, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(release, tiny_path, "--yes", "--private") == 0
    assert f"published: {hub.url}/{WHERE}/commit/" in capsys.readouterr().err
    assert hub.private == {WHERE: True}
    files = hub.repositories[WHERE]
    for name, content in files.items():
        path = tmp_path / "copy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert check_sums(tmp_path / "copy" / "packages" / "ollama-q8_0") == []
    assert files["README.md"] == (release / "README.md").read_bytes()
    # Once more: nothing large is sent again.
    sent = list(hub.sent)
    assert publish(release, tiny_path, "--yes") == 0
    assert (hub.sent, len(hub.commits)) == (sent, 2)


def test_an_upload_that_broke_off_is_resumed(
    release: Path, tiny_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    (release / "packages" / "ollama-q8_0" / "more.bin").write_bytes(b"x" * 100)
    seal(release / "packages" / "ollama-q8_0")
    hub.break_after = 1
    assert publish(release, tiny_path, "--yes") == 1
    said = capsys.readouterr().err
    assert "broke off (" in said
    assert "run it again, large files that arrived are not sent twice" in said
    assert (len(hub.sent), hub.commits) == (1, [])
    hub.break_after = None
    assert publish(release, tiny_path, "--yes") == 0
    assert len(hub.sent) == len(set(hub.sent)) == 2
    assert len(hub.commits) == 1


def test_a_hub_that_falters_is_no_refusal_and_a_refusal_is_not_run_again(
    release: Path, tiny_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.rejects = (503, "busy")
    assert publish(release, tiny_path, "--yes", "--quiet") == 1
    assert "broke off (busy); run it again" in capsys.readouterr().err
    hub.rejects = (413, "the card is too long")
    assert publish(release, tiny_path, "--yes", "--quiet") == 2
    assert capsys.readouterr().err == (f"error: the hub refuses '{WHERE}' (the card is too long)\n")
    assert hub.commits == []


def test_the_users_texts_can_be_kept_out(
    release: Path, tiny_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    report = read_report(release / "parity.json")
    texts = [article.text for article in report.articles.values()]
    texts += [question.text for question in report.asked.values()]
    assert texts
    assert publish(release, tiny_path, "--yes", "--without-texts") == 0
    assert "none of your texts" in capsys.readouterr().out
    files = hub.repositories[WHERE]
    for name in ("parity.json", "parity.md", "parity.html"):
        shown = files[name].decode()
        assert not any(text in shown for text in texts), name
    bare = json.loads(files["parity.json"])
    assert bare["verdict"] == report.verdict
    assert bare["artifacts"][0]["manifest_sha256"] == report.artifacts[0].manifest_sha256
    assert bare["artifacts"][0]["dims"][0]["cosine"]["p1"] == report.artifacts[0].dims[0].cosine.p1


def test_what_did_not_pass_needs_its_reason_again(
    release: Path, tiny_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    package = release / "packages" / "ollama-q8_0"
    path = package / "manifest.json"
    data = json.loads(path.read_text("utf-8"))
    data["artifacts"][0]["verdict"] |= {"verdict": "fail", "override_reason": "for a demo"}
    path.write_text(json.dumps(data), "utf-8")
    seal(package)
    assert publish(release, tiny_path, "--yes") == 1
    assert "give again the reason that it was packaged for" in capsys.readouterr().err
    assert publish(release, tiny_path, "--yes", "--override-verdict", "another") == 1
    assert hub.commits == []
    assert publish(release, tiny_path, "--yes", "--override-verdict", "for a demo") == 0
    assert "warning: ollama-q8_0 goes without a pass: for a demo" in capsys.readouterr().err


def test_a_changed_package_is_refused(
    release: Path, tiny_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    with (release / "packages" / "ollama-q8_0" / "README.md").open("a") as file:
        file.write("x")
    assert publish(release, tiny_path, "--yes") == 2
    assert "is not what was packaged ('README.md' was changed)" in capsys.readouterr().err
    assert hub.commits == []


def test_no_token_says_where_to_get_one(
    release: Path,
    tiny_path: Path,
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert publish(release, tiny_path, "--yes") == 3
    assert "make one that may write at https://huggingface.co/settings" in capsys.readouterr().err
    assert publish(release, tiny_path) == 0  # to look needs none
    assert hub.commits == []


def test_an_expired_token_says_where_to_get_another(
    release: Path,
    tiny_path: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    assert publish(release, tiny_path, "--yes") == 3
    assert "does not know this token (401)" in capsys.readouterr().err
    assert hub.repositories == {}


def test_someone_elses_repository_is_refused(
    release: Path, tiny_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(release, tiny_path, "--yes", to="google/law") == 2
    assert "the hub refuses 'google/law' to this token (403)" in capsys.readouterr().err
    assert hub.repositories == {}


@pytest.mark.parametrize(
    "name",
    ["law", "a/b/c", "lawyer/law--small", "lawyer/law.git", "lawyer/法", f"lawyer/{'x' * 99}"],
)
def test_a_name_that_the_hub_does_not_take_is_refused_before_any_work(
    name: str, release: Path, tiny_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(release, tiny_path, to=name) == 2
    assert "write OWNER/NAME" in capsys.readouterr().err


def test_a_public_repository_is_not_taken_for_a_private_one(
    release: Path, tiny_path: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repositories[WHERE], hub.private[WHERE] = {}, False
    assert publish(release, tiny_path, "--yes", "--private") == 2
    assert f"'{WHERE}' exists and is public" in capsys.readouterr().err
    assert (hub.sent, hub.commits) == ([], [])
    assert publish(release, tiny_path, "--yes") == 0


def test_packages_of_another_checkpoint_are_refused(
    release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(release, MINIATURE) == 2
    assert "pass the --checkpoint that it was made from" in capsys.readouterr().err


def test_a_hub_that_does_not_answer_is_said(
    release: Path,
    tiny_path: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert publish(release, tiny_path, "--yes") == 1
    assert "the upload to 'lawyer/law-small' broke off (" in capsys.readouterr().err


def test_the_card_must_state_the_models_own_licence(
    release: Path, tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = Path(shutil.copytree(tiny_path, tmp_path / "tiny"))
    (checkpoint / "README.md").write_text("---\nlicense: apache-2.0\n---\n", "utf-8")
    assert publish(release, checkpoint) == 2
    assert "states the licence mit, the checkpoint's own card apache-2.0" in capsys.readouterr().err
    (checkpoint / "README.md").write_text(
        "---\nlicense: mit\nbase_model: google/embeddinggemma-300m\n---\n", "utf-8"
    )
    assert publish(release, checkpoint) == 2
    assert "state 'license: gemma' in both cards" in capsys.readouterr().err
    card = release / "README.md"
    card.write_text(card.read_text("utf-8").replace("license: mit\n", ""), "utf-8")
    assert publish(release, tiny_path) == 2
    assert "states no licence" in capsys.readouterr().err
    card.unlink()
    assert publish(release, tiny_path) == 2
    assert "has no card; write it: lawvault card --report" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["README.md", "parity.md", "packages", "packages/ollama-q8_0"])
def test_what_a_link_leads_to_is_not_published(
    name: str, release: Path, tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (release / name).rename(tmp_path / "elsewhere")
    (release / name).symlink_to(tmp_path / "elsewhere")
    assert publish(release, tiny_path) == 2
    assert f"'{release / name}' is a link" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (b"---\nlicense: [mit\n---\n", "is not valid YAML in UTF-8"),
        (b"---\nlicense: mit\n---\n\xff", "is not valid YAML in UTF-8"),
        (b"---\n- mit\n---\n", "is not valid YAML in UTF-8"),
        (b"---\nlicense: {mit: yes}\n---\n", "states no licence"),
        (b"---\nlicense: [mit, apache-2.0]\n---\n", "states no licence"),
        (b"", "states no licence"),
    ],
)
def test_a_card_that_cannot_be_read_is_refused(
    card: bytes, said: str, release: Path, tiny_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (release / "README.md").write_bytes(card)
    assert publish(release, tiny_path) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("token", ["hf_法律", "hf_secret token"])
def test_a_token_that_no_header_holds_is_refused_and_not_shown(
    token: str,
    release: Path,
    tiny_path: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    assert publish(release, tiny_path, "--yes") == 3
    said = capsys.readouterr().err
    assert "the token for the hub holds characters that none has; make one" in said
    assert token not in said


def keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Return the files of a new private key and of its public half."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


def test_a_signature_holds_where_sums_were_made_anew_and_does_not_for_another_key(
    release: Path, tiny_path: Path, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("model_signing")
    private, public = keys(tmp_path, "mine")
    others = keys(tmp_path, "other")[1]
    assert publish(release, tiny_path, "--yes", "--sign-key", private) == 0
    assert not (release / "packages" / "ollama-q8_0" / "model.sig").exists()
    package = tmp_path / "copy"
    for name, content in hub.repositories[WHERE].items():
        if name.startswith("packages/ollama-q8_0/"):
            path = package / name.removeprefix("packages/ollama-q8_0/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    capsys.readouterr()

    def verified(*more: object) -> tuple[int, str]:
        code = run("verify", package, *more)
        said = capsys.readouterr().out
        return code, next((row for row in said.splitlines() if row.startswith("signature")), "")

    assert verified("--public-key", public)[0] == 0
    assert verified()[1].split()[1] == "info"
    code, row = verified("--public-key", others)
    assert (code, row.split()[1]) == (1, "fail")
    assert "does not hold for this key" in row
    with (package / "prompts.json").open("a") as file:
        file.write(" ")
    seal(package)
    code, row = verified("--public-key", public)
    assert (code, row.split()[1]) == (1, "fail")
    (package / "model.sig").unlink()
    code, row = verified("--public-key", public)
    assert "nobody has signed it" in row
    assert run("verify", package, "--public-key", tmp_path / "none") == 2
    assert "no such key" in capsys.readouterr().err
    (tmp_path / "bad").write_text("x", "utf-8")
    assert publish(release, tiny_path, "--sign-key", tmp_path / "bad") == 2
    assert "is no private elliptic key in PEM" in capsys.readouterr().err
