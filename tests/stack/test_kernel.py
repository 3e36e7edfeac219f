"""The Linux kernel as the peer, through a TAP device in a network namespace of its own."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.stack.kernel_peer import SCENARIOS

pytestmark = pytest.mark.netns

_UNSHARE = ["unshare", "-n"] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["unshare", "-rn"]
_TRY = """
import fcntl, os, struct
fcntl.ioctl(os.open('/dev/net/tun', os.O_RDWR), 0x400454CA, struct.pack('16sH22x', b'try', 0x1002))
"""


def _obstacle() -> str | None:
    """Why this machine cannot do it."""
    for tool in ("unshare", "ip"):
        if shutil.which(tool) is None:
            return f"there is no {tool} here"
    tried = subprocess.run(
        [*_UNSHARE, sys.executable, "-c", _TRY], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        return f"no TAP device in a namespace: {tried.stderr.strip().splitlines()[-1]}"
    return None


@pytest.fixture(scope="module")
def namespace():
    obstacle = _obstacle()
    if obstacle is not None:
        if os.environ.get("CI"):
            pytest.fail(f"this has to run in CI, but {obstacle}")
        pytest.skip(obstacle)


@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_with_the_kernel(scenario):
    command = [*_UNSHARE, sys.executable, "-m", "tests.stack.kernel_peer", scenario]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
