"""Publishing on ModelScope: said first, one commit, resumed where it broke off."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("llama_cpp")
pytest.importorskip("sentence_transformers")
pytest.importorskip("modelscope_hub")

from exporter.packages.sums import check_sums
from parity_tests import publishing
from parity_tests.modelscope_site import OWNER, PRIVATE, PUBLIC, TOKEN, Site, running_site
from parity_tests.packaging import seal

WHERE = f"{OWNER}/law-small"
PACKAGE = Path("packages") / "ollama-q8_0"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    with running_site() as found:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", found.url)
        monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
        monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
        monkeypatch.setattr("modelscope_hub.config._default_config", None)
        yield found


def publish(
    release: Path, checkpoint: Path, *more: object, to: str = f"modelscope://{WHERE}"
) -> int:
    return publishing.publish(release, checkpoint, *more, to=to)


def test_without_yes_nothing_is_sent(
    release: Path, tiny_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(release, tiny_path) == 0
    captured = capsys.readouterr()
    assert f"licence mit, your texts among it, see above, to {WHERE} at ModelScope" in captured.out
    assert captured.err.endswith("nothing was uploaded; pass --yes to do it\n")
    assert (site.repositories, site.sent) == ({}, [])


def test_what_is_published_is_what_was_packaged(
    release: Path, tiny_path: Path, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(release, tiny_path, "--yes", "--private") == 0
    captured = capsys.readouterr()
    assert f"published: {site.url}/models/{WHERE}\n" in captured.err
    assert "Upload" not in captured.out
    asked = site.created[WHERE]
    assert (asked["Visibility"], asked["License"]) == (PRIVATE, "mit")
    files = site.repositories[WHERE]
    for name, content in files.items():
        path = tmp_path / "copy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert check_sums(tmp_path / "copy" / PACKAGE) == []
    assert files["README.md"] == (release / "README.md").read_bytes()
    # Once more: nothing large is sent again.
    sent = list(site.sent)
    assert sent
    assert publish(release, tiny_path, "--yes") == 0
    assert (site.sent, len(site.commits)) == (sent, 2)


def test_an_upload_that_broke_off_is_resumed_and_was_not_announced(
    release: Path, tiny_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    (release / PACKAGE / "more.bin").write_bytes(b"x" * 100)
    seal(release / PACKAGE)
    site.break_after = 1
    assert publish(release, tiny_path, "--yes") == 1
    said = capsys.readouterr().err
    assert f"the upload to '{WHERE}' broke off (" in said
    assert "published" not in said
    assert (len(site.sent), site.commits, site.repositories[WHERE]) == (1, [], {})
    site.break_after = None
    assert publish(release, tiny_path, "--yes") == 0
    assert len(site.sent) == len(set(site.sent)) > 1
    assert len(site.commits) == 1


def test_a_server_that_falters_is_no_refusal(
    release: Path, tiny_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.rejects = (503, "busy")
    assert publish(release, tiny_path, "--yes") == 1
    assert "broke off (busy); run it again" in capsys.readouterr().err
    site.rejects = (400, "a file name is not allowed")
    assert publish(release, tiny_path, "--yes") == 2
    assert f"refuses '{WHERE}' (a file name is not allowed)" in capsys.readouterr().err
    assert site.commits == []


def test_a_file_that_the_site_does_not_list_is_no_success(
    release: Path, tiny_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.loses = "packages/ollama-q8_0/tiny-q8_0.gguf"
    assert publish(release, tiny_path, "--yes") == 1
    said = capsys.readouterr().err
    assert f"broke off (1 of 21 files are not there: {site.loses})" in said
    assert "published" not in said


def test_without_texts_none_is_sent(
    release: Path, tiny_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    from exporter.report.write import read_report

    report = read_report(release / "parity.json")
    texts = [article.text for article in report.articles.values()]
    texts += [question.text for question in report.asked.values()]
    assert texts
    assert publish(release, tiny_path, "--yes", "--without-texts") == 0
    assert "none of your texts" in capsys.readouterr().out
    for name in ("parity.json", "parity.md", "parity.html"):
        shown = site.repositories[WHERE][name].decode()
        assert not any(text in shown for text in texts), name


def test_what_did_not_pass_and_another_licence_are_refused_here_too(
    release: Path, tiny_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    path = release / PACKAGE / "manifest.json"
    passed = path.read_text("utf-8")
    path.write_text(passed.replace('"verdict": "pass"', '"verdict": "fail"'), "utf-8")
    seal(release / PACKAGE)
    assert publish(release, tiny_path, "--yes") == 1
    assert "which did not pass (fail)" in capsys.readouterr().err
    path.write_text(passed, "utf-8")
    seal(release / PACKAGE)
    card = release / "README.md"
    card.write_text(card.read_text("utf-8").replace("license: mit\n", ""), "utf-8")
    assert publish(release, tiny_path, "--yes") == 2
    assert "states no licence" in capsys.readouterr().err
    assert site.created == {}


def test_no_token_and_an_expired_one_say_where_to_get_one(
    release: Path,
    tiny_path: Path,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms-expired")
    assert publish(release, tiny_path, "--yes") == 3
    assert "does not know this token: it has expired or was revoked" in capsys.readouterr().err
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms-secret\nHost: else")
    assert publish(release, tiny_path, "--yes") == 3
    said = capsys.readouterr().err
    assert "the token for ModelScope holds characters that none has" in said
    assert "secret" not in said
    monkeypatch.delenv("MODELSCOPE_API_TOKEN")
    assert publish(release, tiny_path, "--yes") == 3
    assert "at https://modelscope.cn/my/myaccesstoken" in capsys.readouterr().err
    assert publish(release, tiny_path) == 0  # to look needs none
    assert site.created == {}


def test_someone_elses_repository_and_a_public_one_as_private_are_refused(
    release: Path, tiny_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(release, tiny_path, "--yes", to="modelscope://google/law") == 2
    assert "ModelScope refuses 'google/law' to this token (403" in capsys.readouterr().err
    site.repositories[WHERE], site.created[WHERE] = {}, {"Visibility": PUBLIC}
    assert publish(release, tiny_path, "--yes", "--private") == 2
    assert f"'{WHERE}' exists and is public" in capsys.readouterr().err
    assert (site.sent, site.commits) == ([], [])


@pytest.mark.parametrize("name", ["law", "a/b/c", "律师/law", "-a/law", "lawyer/", "a/b:c", ""])
def test_a_name_of_another_shape_is_refused(
    name: str, release: Path, tiny_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(release, tiny_path, to=f"modelscope://{name}") == 2
    assert "write modelscope://OWNER/NAME" in capsys.readouterr().err


def test_an_unknown_target_is_named_with_those_that_are_known(
    release: Path, tiny_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(release, tiny_path, to="modelscop://lawyer/law") == 2
    assert "did you mean 'modelscope'? (known: hf, modelscope" in capsys.readouterr().err


def test_a_site_that_does_not_answer_is_said(
    release: Path,
    tiny_path: Path,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("urllib3.util.retry.Retry.sleep", lambda self, response=None: None)
    assert publish(release, tiny_path, "--yes") == 1
    assert f"the upload to '{WHERE}' broke off (" in capsys.readouterr().err


def test_without_its_client_the_line_that_installs_it_is_said(
    release: Path,
    tiny_path: Path,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("exporter.errors._is_installed", lambda module: False)
    assert publish(release, tiny_path, "--yes") == 3
    assert "pip install 'lawvault-exporter[modelscope]'" in capsys.readouterr().err
