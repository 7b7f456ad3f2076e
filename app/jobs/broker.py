"""The broker carries notifications: Celery's configuration, and the thread that sends them.

A notification means *check the queue*: the worker that receives it claims the oldest queued job of its queue. A lost or
repeated notification does no harm; the database holds the jobs.
"""

from __future__ import annotations

import logging
import queue as queues
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from celery import Celery
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.transport import filesystem
from kombu.utils.json import dumps

from app.config import Settings
from nnmass_core.codec import JsonObject

QUEUES = ("search", "train", "files", "maintenance")
LOOK = {queue: f"nnmass.{queue}" for queue in QUEUES}
"""The task that each queue's notification calls."""

MAX_WAITING_NOTIFICATIONS = 1000
LONGEST_WAIT_SECONDS = 0.2
IDLE_SECONDS = 5.0
"""Seconds after which an unused connection to the broker is closed."""


log = logging.getLogger("nnmass.broker")


def make_celery(settings: Settings) -> Celery:
    """Return the Celery application for these settings (reasons: docs/adr/0001-job-rows.md and ADR 4)."""
    celery = Celery("nnmass", set_as_current=False)
    celery.conf.update(_common_settings())
    celery.conf.update(_filesystem(settings) if settings.embedded else _redis(settings))
    return celery


def _common_settings() -> dict[str, object]:
    return {
        # no_ack: if an acknowledgment fails on a lost connection, a worker with prefetch 1 never receives a message
        # again
        "task_queues": [Queue(name, routing_key=name, no_ack=True) for name in QUEUES],
        "task_default_queue": "search",
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_acks_late": False,
        "task_publish_retry": False,
        "worker_prefetch_multiplier": 1,
        "worker_consumer": "worker.consumer:Consumer",
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "enable_utc": True,
    }


def _filesystem(settings: Settings) -> JsonObject:
    folder = settings.notifications_dir
    (folder / "control").mkdir(parents=True, exist_ok=True)
    (folder / "messages").mkdir(exist_ok=True)
    return {
        "broker_url": "filesystem://",
        "broker_transport": "app.jobs.broker:NotificationTransport",
        "broker_transport_options": {
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str((folder / "control").resolve()),
            "polling_interval": 0.05,
        },
    }


def _redis(settings: Settings) -> JsonObject:
    assert settings.broker_url is not None
    return {
        "broker_url": settings.broker_url.get_secret_value(),
        "worker_disable_prefetch": True,
        "broker_connection_timeout": 3.0,
        "broker_pool_limit": 4,
        # a worker would not survive the errors that a full Redis returns; it reconnects instead
        "broker_channel_error_retry": True,
        "broker_transport_options": {
            "socket_timeout": 5.0,
            "socket_connect_timeout": 3.0,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    }


class NotificationChannel(filesystem.Channel):
    """kombu's filesystem channel without its two races, either of which ends a worker with a parse error."""

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:  # type: ignore[override] # kombu names it two ways
        """Write a message under a temporary name, then rename it, so that no reader sees half a message."""
        name = f"{time.monotonic_ns()}_{uuid4()}.{queue}.msg"
        folder = Path(self.data_folder_out)
        unfinished = folder / f".{name}"
        unfinished.write_text(dumps(message))
        unfinished.replace(folder / name)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        """Write no table of bindings, which a starting worker could read half written: messages name their queue."""


class NotificationTransport(filesystem.Transport):
    """kombu's filesystem transport with short waits.

    Celery notices a shutdown request only between two waits, which take 2 s with transports like this one.
    """

    Channel = NotificationChannel

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> Any:
        """Wait for a message, for a fraction of a second at most."""
        longest = LONGEST_WAIT_SECONDS if timeout is None else min(timeout, LONGEST_WAIT_SECONDS)
        return super().drain_events(connection, timeout=longest, **kwargs)


def purge_notifications(settings: Settings) -> None:
    """Delete the notifications of an earlier run of embedded mode; the sweeper sends new ones for queued jobs."""
    folder = settings.notifications_dir / "messages"
    for message in folder.glob("*.msg") if folder.is_dir() else ():
        message.unlink(missing_ok=True)


class BrokerUnfit(Exception):
    """The broker's configuration would lose messages silently."""


def check_redis(settings: Settings) -> None:
    """Refuse a Redis that evicts keys: it would drop queued messages without an error. Raises BrokerUnfit."""
    from redis import Redis  # embedded mode does without, and each of its processes starts sooner

    assert settings.broker_url is not None
    with Redis.from_url(settings.broker_url.get_secret_value(), socket_timeout=5, socket_connect_timeout=3) as redis:
        policy = redis.config_get("maxmemory-policy").get("maxmemory-policy")
    if policy != "noeviction":
        raise BrokerUnfit(f"Redis must run with maxmemory-policy noeviction, not {policy}")


def reachable(settings: Settings) -> bool:
    """Return whether the broker answers."""
    if settings.embedded:
        return (settings.notifications_dir / "messages").is_dir()
    from redis import Redis, RedisError  # see above

    assert settings.broker_url is not None
    try:
        with Redis.from_url(
            settings.broker_url.get_secret_value(), socket_timeout=1, socket_connect_timeout=1
        ) as redis:
            return bool(redis.ping())
    except (OSError, RedisError) as error:
        log.info("broker does not respond: %s", type(error).__name__)
        return False


class Dispatcher:
    """Sends notifications from its own thread, so that no request waits for the broker."""

    def __init__(self, settings: Settings) -> None:
        self._celery = make_celery(settings)
        self._waiting: queues.Queue[str | None] = queues.Queue(MAX_WAITING_NOTIFICATIONS)
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Send the waiting notifications, for a moment at most; the sweeper replaces those that are lost."""
        try:
            self._waiting.put_nowait(None)
        except queues.Full:
            return
        self._thread.join(timeout=2.0)

    def notify(self, queue: str) -> None:
        """Request a notification; returns immediately in any state of the broker. Drops it when too many wait."""
        try:
            self._waiting.put_nowait(queue)
        except queues.Full:
            log.warning("too many notifications wait for the broker; the sweeper will notify queue %s", queue)

    def _run(self) -> None:
        queue = self._waiting.get()
        while queue is not None:
            try:
                with self._celery.connection_for_write() as connection:
                    queue = self._notify_until_idle(connection, queue)
            except Exception as error:  # whatever the broker does, the next notification must be tried
                log.warning("could not notify queue %s: %s", queue, type(error).__name__)
                queue = self._waiting.get()

    def _notify_until_idle(self, connection: Connection, queue: str | None) -> str | None:
        """Send notifications on one connection until it is idle. Return the next queue to notify, None to end."""
        while queue is not None:
            self._celery.send_task(LOOK[queue], queue=queue, ignore_result=True, connection=connection, retry=False)
            try:
                queue = self._waiting.get(timeout=IDLE_SECONDS)
            except queues.Empty:
                connection.release()
                return self._waiting.get()
        return None
