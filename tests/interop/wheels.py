"""Gets the published libzt wheels and builds what drives them, into ``.lab/`` of the checkout.

Nothing of libzt is kept in the project: pip fetches the wheels by name and checks them by hash. A wheel's
extension file gives libzt's C API through ctypes in any CPython.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .namespaces import LabUnavailable

SOURCES = Path(__file__).parent / "lab"
CACHE = Path(__file__).parents[2] / ".lab"

WHEELS = {
    "1.8.4": "e66e1482940118ae172d7356d2c5d2d5c561831c94d595a850704f9923054756",
    "1.4.2": "6f21527ad528081cb967317447e7768facbad62e506343418b5a2971b406da5d",
}
"""Version to SHA-256 of the wheel. Core 1.8.4 speaks AES-GMAC-SIV; core 1.4.6, in 1.4.2, Salsa20/12 only."""


def libzt(version: str) -> Path:
    """The extension file of that libzt. Raises LabUnavailable where it cannot be had or cannot run."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or sys.implementation.name != "cpython":
        raise LabUnavailable("the libzt wheels run in CPython on Linux x86-64 only")
    target = CACHE / f"libzt-{version}.so"
    with _building(target) as draft:
        if draft:
            _download(version, draft)
    return target


def lab_library() -> Path:
    """The library of load loops and missing symbols. Raises LabUnavailable where there is no compiler."""
    sources = [SOURCES / "shims.c", SOURCES / "load.cpp", SOURCES / "sha256.h"]
    key = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    target = CACHE / f"lab-{key}.so"
    with _building(target) as draft:
        if draft:
            shims = str(draft.with_suffix(".o"))
            options = ["-O2", "-std=c++17", "-Wall", "-Wextra", "-fPIC", "-shared", "-pthread"]
            for command in (
                ["gcc", "-O2", "-fPIC", "-c", str(sources[0]), "-o", shims],
                ["g++", *options, str(sources[1]), shims, "-ldl", "-o", str(draft)],
            ):
                done = _run(*command)
                if done.returncode:
                    raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return target


@contextlib.contextmanager
def _building(target: Path) -> Iterator[Path | None]:
    """Yields the place to make ``target`` in, or None where it exists; one process at a time."""
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():
            yield None
            return
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            draft = Path(folder) / target.name
            yield draft
            os.replace(draft, target)


def _download(version: str, target: Path) -> None:
    folder = target.parent
    wanted = folder / "requirements.txt"
    wanted.write_text(f"libzt=={version} --hash=sha256:{WHEELS[version]}\n")
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--disable-pip-version-check"]
    options += ["--quiet", "--python-version=3.9", "--platform=manylinux2010_x86_64", f"--dest={folder}"]
    done = _run(sys.executable, "-m", "pip", "download", *options, "-r", str(wanted))
    if done.returncode:
        raise LabUnavailable(f"pip could not download libzt {version}: {done.stderr.strip()[-1000:]}")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".so"))
        target.write_bytes(wheel.read(name))


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=300)
    except FileNotFoundError as e:
        raise LabUnavailable(f"the lab needs {argv[0]}: {e}") from e
