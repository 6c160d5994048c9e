"""What npm installs for transformers.js: of the tested version, by hash, from whatever registry."""

import json

from exporter.packages.transformersjs.npm import PACKAGE, TESTED
from exporter.packages.transformersjs.packager import STATIC


def test_the_lock_is_of_the_tested_version_and_names_no_registry() -> None:
    wanted = json.loads((STATIC / "package.json").read_text(encoding="utf-8"))
    assert wanted["dependencies"] == {PACKAGE: TESTED}
    lock = json.loads((STATIC / "package-lock.json").read_text(encoding="utf-8"))
    installed = {name: entry for name, entry in lock["packages"].items() if name}
    assert installed[f"node_modules/{PACKAGE}"]["version"] == TESTED
    for name, entry in installed.items():
        assert entry["integrity"].startswith("sha512-"), name
        assert "resolved" not in entry, name
