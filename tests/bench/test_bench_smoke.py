# SPDX-License-Identifier: MIT
"""The benchmark itself works: a quick run has every measure, with values that can be true. No speed is asserted."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from benchlib import measures, programs, sections, stats  # noqa: E402

LIMIT_SECONDS = 480
OURS = ("floor", "floor again", "brood")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    build = os.environ.get("BROOD_BUILD")
    if not build or not Path(build, "tests/bench/bench-load").exists():
        pytest.skip("wants $BROOD_BUILD to be a build with -Dbench=true")
    path = tmp_path_factory.mktemp("bench") / "report.json"
    with tempfile.TemporaryDirectory(prefix="brood-smoke-") as scratch:
        os.chmod(scratch, 0o755)  # servers that drop privileges must enter it
        bench = subprocess.Popen([sys.executable, str(HERE / "bench.py"), "--quick", "--build", build, "--json", str(path)],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                 env=dict(os.environ, TMPDIR=scratch))
        try:
            output, _ = bench.communicate(timeout=LIMIT_SECONDS)
        finally:
            bench.terminate()  # it ends its servers then
            bench.wait(60)
        left = [str(found) for found in Path(scratch).iterdir()]
    left += [str(found) for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpuacct")
             for found in Path(root).glob(f"brood-bench-{bench.pid}-*")]
    print(output)
    assert bench.returncode == 0, output
    return {**json.loads(path.read_text()), "left": left}


def test_every_section_is_there_and_nothing_of_ours_failed(report):
    assert list(report["sections"]) == list(sections.SECTIONS)
    ours = [problem for problem in report["problems"] if problem["where"].split(", ")[-1].split()[0] in ("floor", "brood")]
    assert ours == []


@pytest.mark.parametrize("section", sections.TIMED)
def test_timed_sections_have_plausible_values(report, section):
    found = report["sections"][section]["summary"]
    if section == "keep_alive" and not shutil.which("wrk"):
        assert "keep-alive" in report["skipped"]
        return
    if section.startswith("confined") and os.geteuid() != 0:
        assert report["skipped"]["brood"] == "only root can run it so"
        return
    for name in OURS:
        entry = found[name]
        # On a busy machine a sample of a fraction of a second may come to nearly nothing: no bounds but those of sense.
        assert 0 < entry["rate"]["median"] < 10_000_000
        assert entry["rate_to_floor"]["median"] > 0
        assert 0 < entry["p50_us"]["median"] <= entry["p99_us"]["median"] <= entry["p999_us"]["median"] < 10_000_000
        assert entry["errors"] == {}
        if report["machine"]["cpu_accounting"]:
            assert 0.5 < entry["cpu_us"]["median"] < 100_000
            assert entry["cpu_to_floor"]["median"] > 0
    for name, entry in found.items():
        assert entry["rate"] is None or entry["rate"]["median"] > 0, name


def test_peers_that_are_installed_were_measured(report):
    for program, names in {"nginx": ["nginx"], "haproxy": ["haproxy", "haproxy defer"], "apache2": ["apache"],
                           "lighttpd": ["lighttpd"]}.items():
        for name in names:
            if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin"):
                assert report["sections"]["echo"]["summary"][name]["rate"] is not None, report["problems"]
            else:
                assert name in report["skipped"]


def test_servers_of_programs_that_are_installed_were_measured(report):
    wanted = {"inetd_32": {"tcpserver": "tcpserver", "xinetd": "xinetd", "xinetd nowrap": "xinetd",
                           "tcpsvd": "tcpsvd", "s6-tcpserver": "s6-tcpserver"},
              "inetd_unix": {"s6-ipcserver": "s6-ipcserver", "unixserver": "unixserver"}}
    if os.geteuid() == 0:
        wanted["confined_32"] = {"tcpserver": "tcpserver", "tcpserver inside": "tcpserver", "xinetd": "xinetd"}
    for section, servers in wanted.items():
        for name, program in servers.items():
            if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin"):
                assert report["sections"][section]["summary"][name]["rate"] is not None, report["problems"]
                assert report["notes"][section][name]
            else:
                assert name in report["skipped"]


def test_costs_of_a_connection_with_a_program(report):
    found = report["sections"]["inetd_costs"]
    for name in ("floor", "floor waiting", "brood"):
        # The page faults of the program alone, which are waited for at the next connection or the one after it.
        assert found[name]["children_faults"] > 20
        assert found[name]["server_us"] > 1
        if report["machine"]["cpu_accounting"]:
            assert found[name]["children_us"] > 10
        if shutil.which("strace"):
            calls = found[name]["children_calls"]
            assert calls["execve"] == pytest.approx(1, abs=0.1)
            assert calls["exit_group"] <= 1.1
    if shutil.which("strace"):
        assert found["floor"]["server_calls"]["accept4"] == pytest.approx(1, abs=0.1)
        assert found["brood"]["children_calls"]["accept4"] == pytest.approx(1, abs=0.1)


def test_system_calls_of_the_floor_are_four(report):
    if not shutil.which("strace"):
        assert "system calls" in report["skipped"]
        return
    found = report["sections"]["syscalls"]
    # An average over many connections, of which strace may miss a call at its ends; tests/e2e/test_syscalls.py is exact.
    for name in ("floor", "floor http"):
        assert found[name]["each"] == pytest.approx({"accept4": 1, "close": 1, "read": 1, "write": 1}, abs=0.05)
    assert found["floor messages"]["each"] == pytest.approx({"read": 1, "write": 1}, abs=0.05)
    assert found["brood messages"]["total"] == pytest.approx(2, abs=0.1)
    assert found["brood"]["each"]["accept4"] == pytest.approx(1, abs=0.05)


def test_memory_start_and_kills_have_values(report):
    memory = report["sections"]["memory"]
    for name in ("floor", "brood"):
        assert memory[name]["workers"] == report["settings"]["many"]
        assert 0 < memory[name]["pss_kb"] < memory[name]["pss_kb_with_master"] < 1_000_000
        assert 0 < report["sections"]["start"][name][0] < 60
        kinds = report["sections"]["kills"][name]
        assert kinds["quiet"][0]["kills"] == 0 and not kinds["quiet"][0]["errors"]
        assert kinds["killed"][0]["kills"] > 5
        assert kinds["killed"][0]["served"] > 0
        assert 0 < kinds["killed"][0]["gap_us"] < 10_000_000


def peers():
    """Those that can be measured here."""
    needs = {"php-fpm": programs.PHP_FPM, "apache": "apache2"}
    return [name for name in needs if shutil.which(needs[name], path=programs.PEER_SETTINGS["PATH"])]


@pytest.mark.parametrize("section", ["recycle", "deadlines"])
def test_what_is_added_is_measured_with_it_and_without(report, section):
    found = report["sections"][section]["summary"]
    for name in ["floor", "brood", "brood http", *peers()]:
        for way in (name, f"{name} with"):
            assert found[way]["rate"] is not None, report["problems"]
    for name in ("floor", "brood", "brood http"):
        assert found[f"{name} with"]["errors"] == {}


def test_a_burst_is_served_by_a_pool_that_grows(report):
    found = report["sections"]["burst"]
    hold_ms, connections = (report["settings"][f"burst_{name}"] for name in ("hold_ms", "connections"))
    for name in ["floor", "floor again", "brood", "floor, all there", *peers()]:
        assert found[name] != [None], report["problems"]
        assert found[name][0]["last_ms"] > 0
    # Two workers alone would take so long.
    assert found["brood"][0]["last_ms"] < hold_ms * (connections / 2 - 1)


def test_a_killed_worker_is_replaced(report):
    found = report["sections"]["replace"]
    for name in ["floor", "floor again", "brood", *peers()]:
        assert found[name] != [None], report["problems"]
        for way in ("idle", "busy"):
            assert found[name][0][f"{way}_kills"] > 0
            assert 0 < found[name][0][f"{way}_us"] < 10_000_000


def test_a_quick_run_judges_nothing(report):
    assert len(report["verdicts"]) >= 32
    assert {verdict["outcome"] for verdict in report["verdicts"]} == {"void"}


def test_the_report_describes_the_machine(report):
    assert report["machine"]["kernel"] and report["machine"]["cpus"] >= 1
    assert 0 < report["took_seconds"] < LIMIT_SECONDS


def test_nothing_is_left_behind(report):
    assert report["left"] == []


# ---- the arithmetic ----

def test_interval_of_21_values_is_the_6th_and_the_16th():
    low, high, coverage = stats.interval_of_median(range(1, 22))
    assert (low, high) == (6, 16)
    assert 0.95 <= coverage < 0.98


def test_interval_of_few_values_is_their_range():
    assert stats.interval_of_median([3, 1, 2])[:2] == (1, 3)
    assert stats.interval_of_median([7])[:2] == (7, 7)


def test_ratios_are_of_the_same_round():
    assert stats.ratios([2, None, 6], [1, 5, None]) == [2]


def test_differences_are_of_the_same_round():
    assert stats.differences([2, None, 6], [1, 5, None]) == [1]


def test_strace_lines_are_counted_once():
    counts = measures.count_syscalls(
        '10 accept4(3, NULL, NULL, SOCK_CLOEXEC <unfinished ...>\n'
        '11 read(4, "x", 512)  = 1\n'
        '10 <... accept4 resumed>) = 4\n'
        '10 accept4(3, NULL, NULL, 0) = ? ERESTARTSYS (To be restarted if SA_RESTART is set)\n'
        '10 recvfrom(4, 0x7ff, 16, 0, NULL, NULL) = -1 EINTR (Interrupted system call)\n'
        '10 close(4)                          = 0\n')
    assert counts == {"accept4": 1, "read": 1, "close": 1}
