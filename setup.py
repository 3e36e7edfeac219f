"""Builds the optional accelerator; everything else is in pyproject.toml.

``ZT_ASYNC_EXTENSION=no`` leaves it out, ``=yes`` makes its failure fatal; by default it is built where a
compiler is found and skipped elsewhere.
"""

import os
import sys
import sysconfig

from setuptools import Extension, setup

wanted = os.environ.get("ZT_ASYNC_EXTENSION", "auto")
# The stable ABI gives one wheel for all versions; free-threaded builds do not have it.
abi3 = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")

extension = Extension(
    "zt_async._speedups",
    sources=["zt_async/_speedups.c"],
    extra_compile_args=[] if sys.platform == "win32" else ["-O3"],
    define_macros=[("Py_LIMITED_API", "0x030B0000")] if abi3 else [],
    py_limited_api=abi3,
    optional=wanted != "yes",
)

setup(
    ext_modules=[] if wanted == "no" else [extension],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if abi3 and wanted != "no" else {},
)
