# SPDX-License-Identifier: MIT
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from brood import Brood, IS_ROOT  # noqa: E402


@pytest.fixture
def directory():
    """A directory that every user may enter: workers that have become another one must."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="brood-e2e-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def brood(directory):
    """Makes a Brood: brood(config, ...) is not started yet. All are finished, and looked at, when the test ends."""
    made = []

    def make(config, **options):
        home = directory / str(len(made))
        home.mkdir()
        home.chmod(0o777)
        made.append(Brood(home, config, **options))
        return made[-1]

    yield make
    problems = []
    for one in reversed(made):
        try:
            one.finish()
        except Exception as problem:  # every start is finished before one of them fails the test
            problems.append(problem)
    if problems:
        raise problems[0]


root_only = pytest.mark.skipif(not IS_ROOT, reason="needs root")
