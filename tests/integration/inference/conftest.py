"""One Ray for all tests of this folder; what each deploys into it, it takes away."""

from collections.abc import Iterator

import pytest
import ray
from ray import serve


@pytest.fixture(scope="package")
def ray_serve() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, namespace="inference-tests")
    serve.start(proxy_location="Disabled")
    yield
    serve.shutdown()
    ray.shutdown()
