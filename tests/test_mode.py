"""Whether the tests run on what they are meant to run on; ``make test-all`` says what that is."""

import importlib.util
import os

from zt_async import accel


def test_the_extension_is_used_just_when_it_should_be():
    built = importlib.util.find_spec("zt_async._speedups") is not None
    usual = "accelerated" if built and not os.environ.get("ZT_ASYNC_PURE") else "pure"
    assert accel.ACCELERATED is (os.environ.get("ZT_ASYNC_EXPECT", usual) == "accelerated")
