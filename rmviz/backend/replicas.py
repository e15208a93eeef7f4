"""The backend under Ray Serve: the same FastAPI app in several replicas, one per GPU, behind one address.

Ray Serve's proxy sends all requests of a session (`X-Session-Id`) to the same replica, so that a newer request of a view
meets its older one there, and a text that was read is read once. When a replica dies its sessions move to another one, the
client asks again, and Serve starts a replica in its place. No request changes anything, so asking twice is safe.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from rmviz.errors import ConfigError

NAME = "rmviz"
MAX_WAITING = 1000
"""Requests that one replica holds at once; they wait in its lanes, where a newer one replaces an older one."""

_ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"


@contextlib.contextmanager
def replicated(app: Callable[[], Any], host: str, port: int, num_replicas: int) -> Iterator[None]:
    """Replicas of an app answer at an address while the block runs.

    Joins the Ray cluster that `RAY_ADDRESS` names, whose machines must share the workspace; else starts one here. Each replica
    asks for a GPU where the cluster has any.

    Args:
        app: Makes the app, in each replica; models and locks do not travel.
        host: Address to listen at.
        port: Port to listen at.
        num_replicas: How many.

    Raises:
        ConfigError: Ray Serve is not installed, the cluster cannot be joined or has too few GPUs, or no replica could start.
    """
    ray, serve = _ray_serve()
    # not in the main thread, whose signal handlers Ray replaces; in one that lives on, because Ray's processes end with it
    with ThreadPoolExecutor(1) as aside:
        aside.submit(_join, ray).result()
        try:
            _deploy(ray, serve, app, host, port, num_replicas)
            yield
        finally:
            with contextlib.suppress(Exception):  # the cluster may be gone
                serve.shutdown()
            ray.shutdown()


def _deploy(ray: Any, serve: Any, app: Callable[[], Any], host: str, port: int, num_replicas: int) -> None:
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if 0 < gpus < num_replicas:
        raise ConfigError(f"{num_replicas} replicas need a GPU each, the cluster has {gpus}; ask for fewer")
    options = {"num_cpus": 0 if gpus else 1, "num_gpus": 1 if gpus else 0}
    serve.start(
        http_options={"host": host, "port": port, "location": "HeadOnly"}, logging_config={"log_level": "WARNING"}
    )
    router = import_module("ray.serve.config").RequestRouterConfig(request_router_class=_ROUTER)
    replica = serve.deployment(
        name="backend",
        num_replicas=num_replicas,
        max_ongoing_requests=MAX_WAITING,
        health_check_period_s=2,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=5,
        ray_actor_options=options,
        request_router_config=router,
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )(serve.ingress(app)())
    try:
        serve.run(replica.bind(), name=NAME, route_prefix="/")
    except RuntimeError as error:
        raise ConfigError(f"no replica could start: {str(error).splitlines()[0]}") from error


def _ray_serve() -> tuple[Any, Any]:
    try:
        return import_module("ray"), import_module("ray.serve")
    except ImportError as error:
        raise ConfigError("replicas need Ray Serve: pip install 'rmviz[ray]'") from error


def _join(ray: Any) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(
            address=os.environ.get("RAY_ADDRESS", "local"),
            namespace=NAME,
            include_dashboard=False,
            logging_level="error",
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"the Ray cluster cannot be joined: {error}") from error
