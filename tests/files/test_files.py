# SPDX-License-Identifier: MIT
"""What is checked without a running daemon: licence lines, manuals, units, headers, the installed layout, README."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pytest
from tree import BUILD, TOP, prefix, run


def test_every_file_says_its_licence():
    result = run(sys.executable, TOP / "tests/files/spdx.py")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("page", sorted(p.name for p in (TOP / "man").glob("*.[1-8]")))
def test_manual_is_lint_clean(page):
    result = run("mandoc", "-Tlint", "-Wwarning", TOP / "man" / page)
    assert (result.returncode, result.stdout) == (0, "")


def test_every_manual_is_installed(installed):
    pages = {p.name for p in (TOP / "man").glob("*.[1-8]")}
    there = {p.name for p in (installed / prefix()).glob("share/man/man?/*")}
    assert pages and pages == there


def test_installed_layout(installed):
    base = installed / prefix()
    for path in ("sbin/brood", "bin/broodctl", "etc/brood/brood.conf", "lib/systemd/system/brood.service",
                 "lib/systemd/system/brood.socket", "lib/sysusers.d/brood.conf", "lib/tmpfiles.d/brood.conf",
                 "share/man/man8/brood.8", "share/doc/brood/examples/www/index.html",
                 "share/doc/brood/examples/demo.conf"):
        assert (base / path).is_file(), path
    assert os.access(base / "sbin/brood", os.X_OK)
    unit = (base / "lib/systemd/system/brood.service").read_text()
    assert f"ExecStart=/{prefix()}/sbin/brood " in unit
    assert "@" not in re.sub(r"@[a-z-]+", "", unit), "a placeholder is left"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
@pytest.mark.parametrize("unit", ["brood.service", "brood.socket"])
def test_units_verify(installed, tmp_path, unit):
    """The units, with the paths of the programs where they were installed to: systemd looks whether they exist."""
    source = installed / prefix() / "lib/systemd/system"
    for name in ("brood.service", "brood.socket"):
        text = (source / name).read_text()
        (tmp_path / name).write_text(re.sub(rf"^(Exec\w+=)/{prefix()}", rf"\1{installed}/{prefix()}", text, flags=re.MULTILINE))
    result = run("systemd-analyze", "verify", "--man=no", "--generators=no", "--recursive-errors=no",
                 tmp_path / unit, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"})
    assert result.returncode == 0, result.stdout
    assert not [line for line in result.stdout.splitlines() if "brood" in line], result.stdout


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_sysusers_and_tmpfiles_parse(installed, tmp_path):
    base = installed / prefix() / "lib"
    result = run("systemd-sysusers", "--dry-run", "--root", tmp_path, base / "sysusers.d/brood.conf")
    assert result.returncode == 0 and "brood" in result.stdout, result.stdout
    if os.geteuid() == 0:
        result = run("systemd-tmpfiles", "--create", "--root", tmp_path, base / "tmpfiles.d/brood.conf")
        assert result.returncode == 0 and (tmp_path / "run/brood").is_dir(), result.stdout


HEADERS = sorted(str(p.relative_to(TOP)) for p in (TOP / "src").rglob("*.h"))


@pytest.mark.parametrize("header", HEADERS)
def test_header_stands_alone(header):
    """Twice in one unit, with nothing before it: it includes what it needs, and guards itself."""
    text = f'#include "{TOP}/{header}"\n' * 2
    result = subprocess.run(
        ["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-fsyntax-only",
         f"-I{TOP}/src", f"-I{TOP}/src/libbrood", f"-I{BUILD}", "-x", "c", "-"],
        input=text, text=True, capture_output=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr


INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', re.MULTILINE)
# What a folder of src/ may include besides itself and the C library: the arrows of the architecture.
ALLOWED = {
    "base": set(),
    "libbrood": {"brood"},
    "policy": {"base"},
    "net": {"base"},
    "board": {"base"},
    "config": {"base", "net", "brood"},
    "handlers": {"base", "net", "board", "config", "worker", "brood"},
    "worker": {"base", "net", "board", "config", "brood"},
    "look": {"base"},
    "master": {"base", "net", "board", "policy", "config", "worker", "look", "brood"},
    "ctl": {"base", "net", "board"},
    "cli": {"base", "net", "board", "policy", "config", "worker", "handlers", "master", "brood"},
}


def includes_of(folder):
    own = {p.name for p in (TOP / "src").iterdir() if p.is_dir()} | {"brood"}
    for path in sorted((TOP / "src" / folder).rglob("*.[ch]")):
        for name in INCLUDE.findall(path.read_text()):
            first = name.split("/")[0]
            if "/" in name and first in own:
                yield path.relative_to(TOP), first


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_arrows_point_one_way(folder):
    wrong = [f"{path} includes {first}/" for path, first in includes_of(folder)
             if first != folder and first not in ALLOWED[folder]]
    assert not wrong, "\n".join(wrong)


def test_readme_opens_with_its_two_commands():
    lines = (TOP / "README.md").read_text().splitlines()
    head = [line.strip() for line in lines[:8]]
    assert any(line.startswith("./dev run") for line in head)
    assert any(line.startswith("./dev test") for line in head)
    assert len(lines) < 80


def test_readme_names_what_exists():
    text = (TOP / "README.md").read_text()
    for path in re.findall(r"`((?:src|conf|systemd|man|tests)/[^`*]*)`", text):
        assert (TOP / path).exists(), path
    usage = run(TOP / "dev", "help").stdout
    for command in re.findall(r"\./dev ([a-z]+)", text):
        assert f"./dev {command}" in usage, command


@pytest.fixture
def open_path():
    """A directory that another user reaches, as tmp_path and those above it are closed to others."""
    with tempfile.TemporaryDirectory(prefix="brood-files-") as directory:
        os.chmod(directory, 0o755)
        yield pathlib.Path(directory)


def test_dev_names_the_packages_that_an_ordinary_user_lacks(open_path):
    """The packages are looked for by dpkg-query; this one says that none is there."""
    fake = open_path / "bin" / "dpkg-query"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    dev = open_path / "dev"
    shutil.copy(TOP / "dev", dev)
    user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    result = run(dev, "build", env={**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}"}, **user)
    assert result.returncode == 1, result.stdout
    assert "apt-get install" in result.stdout and "libconfuse-dev" in result.stdout and "meson" in result.stdout


def test_dev_refuses_an_unknown_command_from_anywhere(tmp_path):
    result = run(TOP / "dev", "nonsense", cwd=tmp_path)
    assert result.returncode == 64 and "./dev run" in result.stdout
