# SPDX-License-Identifier: MIT
"""The descriptor store: what the service manager keeps for the next master. The manager is the test."""
import os
import select
import signal
import socket
import stat

from brood import connect, echo_once, echo_pool, receive, wait_for


def names(one, prefix=""):
    return sorted(name for name in one.notify.stored if name.startswith(prefix))


def kill_master(one):
    """As the kernel does when memory is short."""
    one.note_processes()
    one.kill(signal.SIGKILL)
    one.wait()
    one.status = -signal.SIGKILL


def next_master(brood, one, config=None, **options):
    """The same configuration, with what the manager has kept."""
    text = config or one.config_path.read_text().partition("\n")[2]
    after = brood(text, sockets=one.notify.sockets(), **options)
    after.start()
    return after


def busy(address):
    """A client whose worker has nothing else to do."""
    client = connect(address)
    client.sendall(b"one")
    assert receive(client, 3) == b"one"
    return client


def answered(clients, answer):
    """In whatever order: the one worker goes on when a client has left."""
    left = list(clients)
    while left:
        ready, _, _ = select.select(left, [], [], 60)
        assert ready, f"{len(left)} clients have no answer"
        for client in ready:
            assert receive(client, len(answer)) == answer
            client.close()
            left.remove(client)


def test_own_listeners_are_stored_and_socket_units_are_not(brood, directory):
    with socket.create_server(("127.0.0.1", 0)) as unit:
        one = brood(echo_pool(listen=["127.0.0.1:0", f"unix:{directory}/a b.sock", "systemd:web"]),
                    sockets=[("web", unit)]).start()
        wait_for(lambda: len(one.notify.stored) >= 2, "descriptors in the store")
        port = one.addresses()[0].rpartition(":")[2]
        assert names(one, "brood-listener") == [f"brood-listener/unix%3A{directory}/a%20b.sock"]
        assert names(one, "brood-chosen") == [f"brood-chosen/echo/127.0.0.1%3A{port}"]
        assert len(names(one, "brood-")) == len(one.notify.stored)
        for _, message in one.notify.messages:
            if "FDSTORE=1" in message:
                assert sum(line.startswith("FDNAME=") for line in message.splitlines()) == 1
                assert "FDPOLL=0" in message.splitlines()
        for name, fds in one.notify.stored.items():
            assert stat.S_ISSOCK(os.fstat(fds[0]).st_mode) == (not name.startswith("brood-board"))
        unit.close()


def test_stop_takes_the_listeners_out_before_it_refuses(brood):
    one = brood(echo_pool(listen=["127.0.0.1:0", "127.0.0.2:0"])).start()
    wait_for(lambda: names(one, "brood-chosen"), "listeners in the store")
    client = busy(one.address())
    one.kill(signal.SIGTERM)
    wait_for(lambda: not names(one, "brood-chosen"), "no listener in the store")
    assert one.is_running()
    client.close()
    one.wait()


def test_a_killed_master_loses_nobody(brood, directory):
    """Neither who is served, nor who waits in a queue, nor who comes while there is no master."""
    one = brood(echo_pool(listen=["127.0.0.1:0", f"unix:{directory}/echo.sock"], workers=1, extra="idle_timeout = 60s"),
                leave=["echo.sock"]).start()
    addresses = one.addresses()
    wait_for(lambda: len(one.notify.stored) >= 2, "listeners in the store")
    with busy(addresses[0]) as served:
        waiting = [connect(address) for address in addresses for _ in range(5)]
        for client in waiting:
            client.sendall(b"queued")
        kill_master(one)
        waiting += [connect(address) for address in addresses]
        for client in waiting[-2:]:
            client.sendall(b"queued")
        after = next_master(brood, one)
        assert sorted(after.addresses(origin="store")) == sorted(addresses)
        answered(waiting, b"queued")
        served.sendall(b"two")
        assert receive(served, 3) == b"two", "its worker has outlived the master"
    assert echo_once(addresses[0]) == b"hello" and echo_once(addresses[1]) == b"hello"
    assert after.stop() == 0
    assert not (directory / "echo.sock").exists(), "the path was left to the next master"


def test_what_is_not_wanted_any_more_is_closed_and_taken_out(brood):
    one = brood(echo_pool(listen=["127.0.0.1:0", "127.0.0.2:0"])).start()
    wait_for(lambda: len(names(one, "brood-chosen")) == 2, "listeners in the store")
    first, second = one.addresses()
    kill_master(one)
    after = next_master(brood, one, echo_pool(listen=first), expect=["is not used, and closed"])
    assert after.addresses(origin="store") == [first]
    unused = after.log("is not used, and closed")
    assert len(unused) == 1 and second in unused[0]["line"], unused
    removed = [line for line in after.notify.lines() if line.startswith("FDNAME")]
    assert any(line.endswith(second.replace(":", "%3A")) for line in removed)


def test_a_listener_that_hears_nobody_is_opened_anew(brood, directory):
    """Its path is gone, or is another's."""
    path = directory / "echo.sock"
    one = brood(echo_pool(listen=f"unix:{path}"), leave=["echo.sock"]).start()
    wait_for(lambda: names(one, "brood-listener"), "the listener in the store")
    kill_master(one)
    path.unlink()
    after = next_master(brood, one, expect=["hears nobody"])
    assert after.log("hears nobody")
    assert after.addresses() == after.addresses(origin="opened")
    assert echo_once(after.address()) == b"hello"
    wait_for(lambda: any("FDSTORE=1" in m and "brood-listener" in m for _, m in after.notify.messages), "it is stored")


def test_a_listener_that_was_refusing_hears_again_or_is_opened_anew(brood):
    one = brood(echo_pool()).start()
    address = one.address()
    wait_for(lambda: names(one, "brood-chosen"), "the listener in the store")
    kept = one.notify.stored.pop(names(one, "brood-chosen")[0])[0]
    stored = socket.socket(fileno=os.dup(kept))
    with busy(address):
        one.kill(signal.SIGTERM)
        wait_for(lambda: stored.getsockopt(socket.SOL_SOCKET, 62) != 0, "it refuses")
        kill_master(one)
    after = brood(echo_pool(listen=address), sockets=[("brood-listener/x", stored)])
    after.start()
    stored.close()
    os.close(kept)
    assert echo_once(address) == b"hello"
