import os
import subprocess
import sys
import textwrap

import pytest


@pytest.fixture
def in_new_network_namespace():
    """Runs a Python script in a network namespace of its own; gives the lines that it prints."""
    command = ["unshare", "--net", *([] if os.getuid() == 0 else ["--map-root-user"])]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no network namespaces here")

    def run(script):
        script = [sys.executable, "-c", textwrap.dedent(script)]
        done = subprocess.run([*command, *script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run
