# SPDX-License-Identifier: MIT
"""A reload that is undone: what it has begun ends at once."""
from brood import echo_once, echo_pool, wait_for

FAILS = """
pool "fails" {
	listen = {"127.0.0.1:0"}
	handler = "program"
	command = {"/bin/false"}
	ready = notify
}
"""


def test_new_worker_that_was_never_let_go_accepts_nothing(brood, directory):
    """It has two listeners; the old one is made for workers that have one, and block in accept()."""
    path = directory / "second.sock"
    one = brood(echo_pool(workers=2), expect=["reload refused", "died", "failed"]).start()
    old = sorted(one.workers("echo"))
    changed = echo_pool(workers=2, listen=["127.0.0.1:0", f"unix:{path}"])
    one.reload(changed + FAILS, good=False)
    wait_for(lambda: sorted(one.workers("echo")) == old, "the end of the new worker")
    assert one.log("worker died", pool="echo") == [], "it had to be killed"
    assert not path.exists()
    assert echo_once(one.address()) == b"hello"
    one.reload(changed)
    assert echo_once(f"unix:{path}") == b"hello"
