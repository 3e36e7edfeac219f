"""Whether the tests run on what they are meant to run on."""

import os

import pytest

from zt_async import accel


@pytest.mark.skipif("ZT_ASYNC_EXPECT" not in os.environ, reason="no expectation was given (make test-all gives one)")
def test_the_extension_is_used_just_when_it_should_be():
    assert accel.ACCELERATED is (os.environ["ZT_ASYNC_EXPECT"] == "accelerated")
