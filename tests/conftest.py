"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# Every run tries the same, and no stopwatch decides.
settings.register_profile(
    "zt_async", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("zt_async")
