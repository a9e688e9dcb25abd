# SPDX-License-Identifier: MIT
"""Listeners: unix sockets, both families side by side, sockets from the service manager."""
import errno
import os
import pathlib
import re
import signal
import socket
import stat

import pytest
from brood import IS_ROOT, NOBODY, connect, echo_once, echo_pool, proc_fds, proc_stat, proc_text, wait_for
from conftest import root_only

UNAVAILABLE, CONFIG = 69, 78


# ---- unix sockets ----

def test_unix_socket_is_made_with_its_mode_and_removed(brood, directory):
    path = directory / "a.sock"
    one = brood(echo_pool(listen=f"unix:{path}", extra="socket_mode = 0604")).start()
    assert one.addresses() == [f"unix:{path}"]
    assert stat.S_ISSOCK(path.stat().st_mode) and stat.S_IMODE(path.stat().st_mode) == 0o604
    assert echo_once(one.address()) == b"hello"
    one.stop()
    assert not path.exists()


@root_only
def test_unix_socket_owner_and_group(brood, directory):
    path = directory / "a.sock"
    one = brood(echo_pool(listen=f"unix:{path}", extra='socket_user = "daemon"\n\tsocket_group = "1234"')).start()
    assert (path.stat().st_uid, path.stat().st_gid) == (1, 1234)
    assert echo_once(one.address()) == b"hello"


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_unix_socket_mode_does_not_depend_on_the_umask(brood, directory, umask):
    path = directory / "a.sock"
    old = os.umask(umask)
    try:
        brood(echo_pool(listen=f"unix:{path}", extra="socket_mode = 0666")).start()
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_stale_unix_socket_is_replaced(brood, directory):
    path = directory / "a.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    one = brood(echo_pool(listen=f"unix:{path}")).start()
    assert echo_once(one.address()) == b"hello"


def test_live_unix_socket_is_refused_and_left_alone(brood, directory):
    path = directory / "a.sock"
    first = brood(echo_pool(listen=f"unix:{path}")).start()
    second = brood(echo_pool(listen=f"unix:{path}"), status=UNAVAILABLE, expect=["cannot listen"])
    assert second.spawn().wait() == UNAVAILABLE
    assert f"unix:{path}" in second.log_text() and "Address already in use" in second.log_text()
    assert path.exists() and echo_once(first.address()) == b"hello"


def test_a_file_in_the_place_of_a_unix_socket_is_not_removed(brood, directory):
    path = directory / "precious"
    path.write_text("data")
    one = brood(echo_pool(listen=f"unix:{path}"), status=UNAVAILABLE, expect=["cannot listen"])
    assert one.spawn().wait() == UNAVAILABLE
    assert path.read_text() == "data" and str(path) in one.log_text()


def test_unix_socket_that_another_has_made_meanwhile_is_not_removed(brood, directory):
    path = directory / "a.socket"
    one = brood(echo_pool(listen=f"unix:{path}")).start()
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        one.stop()
        assert path.exists()


def test_abstract_unix_socket(brood):
    name = f"unix:@brood-abstract-{os.getpid()}"
    one = brood(echo_pool(listen=name)).start()
    assert one.addresses() == [name]
    assert echo_once(name) == b"hello"


def test_unix_socket_in_a_missing_directory(brood, directory):
    path = directory / "absent" / "a.sock"
    one = brood(echo_pool(listen=f"unix:{path}"), status=CONFIG, expect=["absent"])
    assert one.spawn().wait() == CONFIG
    assert str(path) in one.log_text() and "No such file" in one.log_text()


@root_only
def test_unix_socket_where_its_maker_may_not_write(brood, directory):
    (directory / "closed").mkdir(mode=0o755)
    path = directory / "closed" / "a.sock"
    one = brood(echo_pool(listen=f"unix:{path}"), user=NOBODY, status=UNAVAILABLE, expect=["cannot listen"])
    assert one.spawn().wait() == UNAVAILABLE
    assert f"unix:{path}" in one.log_text() and "Permission denied" in one.log_text()


# ---- families ----

def free_port():
    with socket.socket(socket.AF_INET6) as probe:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind(("::", 0))
        return probe.getsockname()[1]


def have_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not have_ipv6(), reason="no IPv6 here")


@needs_ipv6
def test_any_address_of_both_families_side_by_side(brood):
    port = free_port()
    one = brood(echo_pool(listen=[f"0.0.0.0:{port}", f"[::]:{port}"])).start()
    assert sorted(one.addresses()) == [f"0.0.0.0:{port}", f"[::]:{port}"]
    assert echo_once(f"127.0.0.1:{port}") == b"hello"
    assert echo_once(f"[::1]:{port}") == b"hello"


@needs_ipv6
@pytest.mark.parametrize("host", ["", "*"])
def test_colon_port_and_star_port_are_any_address(brood, host):
    one = brood(echo_pool(listen=f"{host}:0")).start()
    ports = {a.rpartition(":")[2] for a in one.addresses()}
    assert {a.rpartition(":")[0] for a in one.addresses()} == {"0.0.0.0", "[::]"}
    assert len(ports) == 1, "one entry, one port"
    port = ports.pop()
    assert echo_once(f"127.0.0.1:{port}") == b"hello" and echo_once(f"[::1]:{port}") == b"hello"


def test_localhost_is_all_of_its_addresses(brood):
    hosts = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    one = brood(echo_pool(listen="localhost:0")).start()
    assert {a.rpartition(":")[0].strip("[]") for a in one.addresses()} == hosts
    for address in one.addresses():
        assert echo_once(address) == b"hello"


def test_restart_on_the_same_port_at_once(brood):
    """SO_REUSEADDR: connections of the previous run in TIME_WAIT do not hinder the next."""
    first = brood(echo_pool(echo="messages = 1")).start()
    address = first.address()
    for _ in range(20):
        assert echo_once(address) == b"hello"
    first.stop()
    second = brood(echo_pool(listen=address)).start()
    assert echo_once(second.address()) == b"hello"


def test_backlog_above_the_kernels_limit_is_a_warning_with_both_numbers(brood):
    limit = int(pathlib.Path("/proc/sys/net/core/somaxconn").read_text())
    if limit >= 65535:
        pytest.skip("the kernel's limit is above every backlog")
    one = brood(echo_pool(extra=f"backlog = {limit + 1}"), expect=["somaxconn"]).start()
    rows = [row for row in one.log() if "somaxconn" in row["line"]]
    assert [row["level"] for row in rows] == ["warning"]
    assert str(limit) in rows[0]["line"] and str(limit + 1) in rows[0]["line"]


def test_backlog_is_given_to_the_kernel(brood):
    one = brood(echo_pool(extra="backlog = 37")).start()
    # The queue's limit, by filling it: backlog + 1 clients are let in, the next is not.
    assert queue_limit(one) == 38


def queue_limit(one):
    """How many clients the kernel takes into the queue while no worker accepts."""
    workers = one.wait_workers(2)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: all(proc_stat(pid)[0] == "T" for pid in workers), "both stopped")
    clients = []
    try:
        for _ in range(100):
            client = socket.socket()
            clients.append(client)
            client.settimeout(1)
            host, _, port = one.address().rpartition(":")
            try:
                client.connect((host, int(port)))
            except TimeoutError:
                return len(clients) - 1
        return len(clients)
    finally:
        for client in clients:
            client.close()
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


# ---- from the service manager ----

def listening(kind=socket.AF_INET, address=("127.0.0.1", 0), listen=True):
    sock = socket.socket(kind, socket.SOCK_STREAM)
    sock.bind(address)
    if listen:
        sock.listen(64)
    return sock


def name_of(sock):
    return "%s:%d" % sock.getsockname()


def test_socket_by_name(brood):
    with listening() as web:
        one = brood(echo_pool(listen="systemd:web"), sockets=[("web", web)]).start()
        assert one.addresses(origin="systemd") == [name_of(web)]
        assert echo_once(name_of(web)) == b"hello"
        one.stop()


def test_several_sockets_of_one_name(brood):
    with listening() as a, listening() as b, listening() as other:
        one = brood(echo_pool("one", listen="systemd:web") + echo_pool("two", listen="systemd:other"),
                    sockets=[("web", a), ("other", other), ("web", b)]).start()
        assert one.addresses("one") == [name_of(a), name_of(b)]
        assert one.addresses("two") == [name_of(other)]
        for sock in (a, b, other):
            assert echo_once(name_of(sock)) == b"hello"
        one.stop()


def test_socket_by_address(brood):
    """A pool that names an address takes the socket that is bound to it, and does not open one beside it."""
    with listening() as web:
        one = brood(echo_pool(listen=name_of(web)), sockets=[("unrelated", web)]).start()
        assert one.addresses(origin="systemd") == [name_of(web)]
        assert echo_once(name_of(web)) == b"hello"
        one.stop()


def test_unix_socket_of_systemd_is_not_removed(brood, directory):
    path = directory / "given.socket"
    with listening(socket.AF_UNIX, str(path)) as given:
        one = brood(echo_pool(listen="systemd:given"), sockets=[("given", given)]).start()
        assert echo_once(f"unix:{path}") == b"hello"
        one.stop()
        assert path.exists()


def test_queue_of_a_socket_unit_survives_the_stop(brood):
    """It is never refused: who connects after the stop waits for whoever comes next."""
    with listening() as web:
        first = brood(echo_pool(listen="systemd:web"), sockets=[("web", web)]).start()
        assert echo_once(name_of(web)) == b"hello"
        first.stop()
        with connect(name_of(web)) as client:
            client.sendall(b"hello")
            second = brood(echo_pool(listen="systemd:web"), sockets=[("web", web)]).start()
            assert client.recv(5) == b"hello"
            second.stop()


def test_stop_without_loss_on_a_socket_unit(brood):
    with listening() as web:
        one = brood(echo_pool(listen="systemd:web", echo="messages = 1"), sockets=[("web", web)]).start()
        clients = []
        for _ in range(20):
            clients.append(connect(name_of(web)))
        one.kill(15)
        for client in clients:
            client.sendall(b"hello")
        one.wait()
        following = brood(echo_pool(listen="systemd:web", echo="messages = 1"), sockets=[("web", web)]).start()
        for client in clients:
            assert client.recv(5) == b"hello"
            client.close()
        following.stop()


def test_surplus_socket_is_closed_with_a_warning(brood):
    with listening() as web, listening() as surplus:
        one = brood(echo_pool(listen="systemd:web"), sockets=[("web", web), ("surplus", surplus)],
                    expect=["surplus"]).start()
        rows = [row for row in one.log("not used") if "surplus" in row["line"]]
        assert len(rows) == 1 and name_of(surplus) in rows[0]["line"]
        inode = f"socket:[{os.fstat(surplus.fileno()).st_ino}]"
        assert inode not in proc_fds(one.pid).values()
        one.stop()


def test_missing_name_fails_the_start_and_names_it(brood):
    with listening() as web:
        one = brood(echo_pool(listen="systemd:absent"), sockets=[("web", web)], status=UNAVAILABLE, expect=[".*"])
        assert one.spawn().wait() == UNAVAILABLE
        assert "systemd:absent" in one.log_text()


def test_socket_that_does_not_listen_is_refused(brood):
    with listening(listen=False) as web:
        one = brood(echo_pool(listen="systemd:web"), sockets=[("web", web)], status=UNAVAILABLE, expect=[".*"])
        assert one.spawn().wait() == UNAVAILABLE
        assert "systemd:web" in one.log_text()


def test_listen_fds_of_another_process_are_not_taken(brood):
    one = brood(echo_pool(), env={"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "web"}).start()
    assert echo_once(one.address()) == b"hello"


def test_o_nonblock_of_a_given_socket(brood):
    """A socket that some other program has left non-blocking is served without spinning."""
    with listening() as web:
        web.setblocking(False)
        one = brood(echo_pool(listen="systemd:web", workers=1), sockets=[("web", web)]).start()
        pid, = one.wait_workers(1)
        assert echo_once(name_of(web)) == b"hello"
        web.setblocking(False)
        assert echo_once(name_of(web)) == b"hello"
        one.wait_workers(1)
        before = cpu_ticks(pid)
        wait_for(lambda: proc_text(pid, "syscall").split()[:1] in (["288"], ["242"], ["7"], ["73"], ["271"], ["running"]) or not IS_ROOT or
                 not re.match(r"\d", proc_text(pid, "syscall")), "the worker in accept4() or poll()", 10)
        assert cpu_ticks(pid) - before < os.sysconf("SC_CLK_TCK")
        one.stop()


def cpu_ticks(pid):
    fields = proc_text(pid, "stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_refusal_is_what_clients_see_after_the_stop(brood):
    one = brood(echo_pool()).start()
    address = one.address()
    one.stop()
    with pytest.raises(OSError) as error:
        connect(address)
    assert error.value.errno == errno.ECONNREFUSED
