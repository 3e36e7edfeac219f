"""The HTTP API under requests made from its own description, by schemathesis, and under mutated bodies."""

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.checks import CHECKS
from schemathesis.generation import GenerationMode

from zt_async.service.openapi import describe

from ..service.threaded import served

pytestmark = pytest.mark.timeout(7200)  # of a million

NOT_CHECKED = {
    "positive_data_acceptance",  # addresses, prefixes and ranges are texts of more forms than a schema tells
    "max_response_time",
}


@pytest.fixture(scope="module")
def service():
    with served() as service:
        yield service


def operations():
    schema = schemathesis.openapi.from_dict(describe())
    return [result.ok() for result in schema.get_all_operations()]


def cases(operation):
    """Requests that are as described, and where something could be wrong, such that are not."""
    good = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if not operation.body and not operation.path_parameters:
        return good
    return good | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)


@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.label)
def test_requests_made_from_the_description(service, operation, fuzz_count):
    checks = [check for check in CHECKS.get_all() if check.__name__ not in NOT_CHECKED]

    @hypothesis.settings(
        max_examples=max(fuzz_count // 1500, 5),
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(case=cases(operation))
    def ask(case):
        case.call_and_validate(
            base_url=service.url, headers={"X-ZT1-Auth": service.token}, checks=checks, timeout=60
        )

    ask()
