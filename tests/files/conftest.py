# SPDX-License-Identifier: MIT
import pytest
from tree import BUILD, run


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """What `meson install` puts in place, below a directory of its own."""
    root = tmp_path_factory.mktemp("root")
    result = run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", root)
    assert result.returncode == 0, result.stdout
    return root
