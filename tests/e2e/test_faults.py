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


# What a new image lacks it may have a little later: none of these is its end.
SERVED = [
    ("signalfd4(", "EMFILE"),
    ("epoll_create1(", "ENOMEM"),
    ("mmap(NULL, #, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS", "ENOMEM"),
    ("/dev/null", "EACCES"),
    ("MAP_SHARED, #</memfd:brood-board>", "ENOMEM"),
    ("getsockname(#<UNIX-STREAM", "ENOBUFS"),
    ("lseek(#</memfd:brood-findings>", "ESPIPE"),
    ("kill(#, SIGURG)", "EPERM"),
]


def test_a_new_image_goes_on_whatever_fails():
    phase = sweep.PHASES["upgrade"]
    found = list(sweep.cases_of(phase, sweep.enumerate_phase(phase)))
    cases = []
    for word, error in SERVED:
        of_kind = [case for case in found if word in case.call.kind and case.error == error]
        assert of_kind, f"no {word} is called"
        cases += of_kind[:2]
    bad = [outcome for outcome in sweep.sweep(cases, 2) if not outcome.verdict.startswith("served")]
    assert not bad, bad


def test_a_new_image_that_can_never_start_ends():
    """Every time, and not the first one alone."""
    outcome = sweep.run_case(sweep.Case("upgrade", sweep.Call("signalfd4", "1+", "signalfd4("), "EMFILE"))
    assert outcome.verdict == "ended and reported", outcome
    assert outcome.detail == "cannot receive signals: Too many open files", outcome


def test_a_signal_that_is_refused_is_sent_again():
    phase = sweep.PHASES["reload"]
    cases = [case for case in sweep.cases_of(phase, sweep.enumerate_phase(phase)) if "kill(#, SIGURG)" in case.call.kind]
    assert cases
    bad = [outcome for outcome in sweep.sweep(cases, 2) if not outcome.verdict.startswith("served")]
    assert not bad, bad


def test_a_master_that_crashes_is_not_taken_for_a_good_one(tmp_path, monkeypatch):
    """The judge itself: a daemon that a fault ends by a signal, without a word, is bad."""
    crash = tmp_path / "brood"
    crash.write_text("#!/bin/bash\nstty size </dev/null >/dev/null 2>&1\nkill -SEGV $$\n")
    crash.chmod(0o755)
    monkeypatch.setattr("brood.BINARY", crash)
    outcome = sweep.run_case(sweep.Case("start", sweep.Call("openat", 1, "openat("), "EACCES"))
    assert not outcome.good, outcome
