# SPDX-License-Identifier: MIT
"""A part of the fault sweep (tests/faults): in each phase, some of the system calls that the master makes fail once."""
import shutil
import subprocess
import sys

import pytest
from brood import IS_ROOT, SANITIZED, TOP

sys.path.insert(0, str(TOP / "tests/faults"))

import sweep  # noqa: E402


def why_not():
    if SANITIZED:
        return "the plain build's business"
    if not IS_ROOT or not shutil.which("strace"):
        return "needs root and strace"
    if not sweep.PROGRAM.exists():
        return "wants a build with -Dbench=true"
    probe = subprocess.run(["strace", "-e", "inject=getppid:error=EPERM", "true"], capture_output=True, check=False)
    return None if probe.returncode == 0 else f"strace: {probe.stderr.decode().strip()}"


# Of a phase: `./dev faults` tries them all.
CASES_MAX = 20
REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")


@pytest.mark.parametrize("phase", sweep.PHASES)
def test_a_call_may_fail_once(phase):
    calls = sweep.enumerate_phase(sweep.PHASES[phase])
    if calls is None:
        pytest.skip("the daemon has no such thing")
    assert sweep.without_errors(calls) == [], "calls of which the tables of sweep.py say nothing"
    cases = list(sweep.cases_of(sweep.PHASES[phase], calls, of_class=1, errors_max=1))
    cases = cases[::len(cases) // CASES_MAX + 1]
    assert len(cases) > 5
    outcomes = sweep.sweep(cases, 2)
    bad = [f"{outcome.case.call.kind} #{outcome.case.call.number} {outcome.case.error}: {outcome.detail}"
           for outcome in outcomes if not outcome.good]
    assert not bad, "\n".join(bad)
    reached = sum(outcome.verdict != "not reached" for outcome in outcomes)
    assert reached > len(cases) // 2, f"{reached} of {len(cases)} faults were injected"


def test_a_master_that_crashes_is_not_taken_for_a_good_one(tmp_path, monkeypatch):
    """The judge itself: a daemon that a fault ends by a signal, without a word, is bad."""
    crash = tmp_path / "brood"
    crash.write_text("#!/bin/bash\nstty size </dev/null >/dev/null 2>&1\nkill -SEGV $$\n")
    crash.chmod(0o755)
    monkeypatch.setattr("brood.BINARY", crash)
    outcome = sweep.run_case(sweep.Case("start", sweep.Call("openat", 1, "openat("), "EACCES"))
    assert not outcome.good, outcome
