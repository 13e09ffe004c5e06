"""The sample's package: pinned, installable from any registry, free of names and places of one
machine.
"""

from __future__ import annotations

import json
import re

import pytest


@pytest.fixture(scope="module")
def lock(sample):
    return json.loads((sample / "package-lock.json").read_text())


def test_the_lock_file_names_no_registry_and_checks_every_package(lock):
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert not any("resolved" in package for package in packages.values())
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())


def test_versions_are_pinned_as_in_the_lock_file(sample, lock):
    package = json.loads((sample / "package.json").read_text())
    pinned = package["dependencies"] | package["devDependencies"]
    assert pinned == {name: lock["packages"][f"node_modules/{name}"]["version"] for name in pinned}


def test_every_script_and_variable_is_explained_in_the_readme(sample):
    readme = (sample / "README.md").read_text()
    scripts = json.loads((sample / "package.json").read_text())["scripts"]
    sources = [
        path.read_text()
        for folder in ("src", "tooling")
        for path in (sample / folder).rglob("*.*s")
        if "generated" not in path.parts
    ]
    variables = {
        name
        for text in sources
        for name in re.findall(r"process\.env\.([A-Z_0-9]+)|VARIABLE = '([A-Z_]+)'", text)
        for name in name
        if name
    }
    assert [name for name in {*scripts, *variables} if f"`{name}" not in readme] == []
