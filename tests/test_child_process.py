"""A child ends when its parent does, in each of the ways to learn of that."""

import os
import select
import subprocess
import sys

import pytest

_LIMIT_SECONDS = 60

_PARENT = """
import os, sys, time
from longclip.util import child_process
sys.platform = {platform!r}
parent = os.getpid()
if not os.fork():
    if {late}:
        os.kill(parent, 9)
        while os.getppid() == parent:
            time.sleep(0.01)
    child_process.end_with_parent(parent)
    print("ready", flush=True)
    time.sleep(600)
time.sleep(600)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
@pytest.mark.parametrize("platform", [sys.platform, "elsewhere"])
@pytest.mark.parametrize("late", [False, True])
def test_a_child_ends_with_a_parent_that_is_killed(platform: str, late: bool) -> None:
    program = _PARENT.format(platform=platform, late=late)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        if not late:
            assert parent.stdout.readline() == b"ready\n"
            parent.kill()
        # Its output ends when nobody is left who could write to it.
        while select.select([parent.stdout], [], [], _LIMIT_SECONDS)[0]:
            if not os.read(parent.stdout.fileno(), 100):
                return
        raise AssertionError("the child lives on")
