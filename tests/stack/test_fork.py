"""What a fork leaves of a stack: in the parent everything, in the child a stack that has failed and says so."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, packhorse
with packhorse.startup(host="127.0.0.1") as stack:
    stack.send(b"waits for the parent alone", to=stack.address)
    stack.sender.flush(10)
    package = packhorse.OutPackage(b"x", packhorse.Reliability.UNORDERED, packhorse.Peers.PLAYERS, stack.address)
    child = os.fork()
    if child == 0:
        for call in (
            lambda: stack.send(b"from the child", to=stack.address),
            lambda: stack.sender.send_many([package]),
            lambda: stack.sender.flush(10),
            lambda: stack.receiver.recv(10),
            lambda: stack.errors.recv(10),
            lambda: stack.stats(),
        ):
            try:
                call()
                print("child: nothing wrong")
            except packhorse.PackhorseError as error:
                print("child:", type(error).__name__, error, "/", error.__cause__)
        print("child:", stack.receiver.drain(), stack.close())
        with packhorse.startup(host="127.0.0.1") as own:
            own.send(b"in a stack of its own", to=own.address)
            print("child:", own.receiver.recv(10).data)
    else:
        os.waitpid(child, 0)
        stack.send(b"goes on", to=stack.address)
        print("parent:", [stack.receiver.recv(10).data for _ in range(2)])
"""
FORKED = "a stack does not come along when its process forks: start one in the child"


def test_a_forked_copy_of_a_stack_fails_and_the_stack_goes_on() -> None:
    run = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        *[f"child: StackFailed {FORKED} / None"] * 3,
        f"child: StackFailed the stack of this receiver gave up / {FORKED}",
        f"child: StackFailed the stack of this error receiver gave up / {FORKED}",
        "child: Closed this stack has ended / None",
        "child: [] []",
        "child: b'in a stack of its own'",
        "parent: [b'waits for the parent alone', b'goes on']",
    ]


HELD = """
import os, signal, packhorse
stack = packhorse.startup(host="127.0.0.1")
port = stack.address[1]
child = os.fork()
if child == 0:
    signal.pause()
stack.close()
with packhorse.startup(port, "127.0.0.1") as again:
    print(again.address[1] == port)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
"""


def test_a_forked_child_does_not_keep_the_port() -> None:
    run = subprocess.run([sys.executable, "-c", HELD], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - as above
    assert (run.returncode, run.stdout) == (0, "True\n"), run.stderr
