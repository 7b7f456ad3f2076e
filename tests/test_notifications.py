"""Notifications on the file system: never read half written, with any number of concurrent senders."""

from __future__ import annotations

import threading
from pathlib import Path
from queue import Empty

from app.config import Settings
from app.jobs.broker import make_celery, purge_notifications

NOTIFICATIONS = 200


def test_concurrent_notifications_are_all_received_complete(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    celery = make_celery(settings)
    senders = [threading.Thread(target=_notify, args=(settings,)) for _ in range(4)]
    received = 0
    with celery.connection_for_read() as connection:
        channel = connection.channel()
        for sender in senders:
            sender.start()
        while any(sender.is_alive() for sender in senders) or received < 4 * NOTIFICATIONS:
            try:
                received += channel._get("search")["headers"]["task"] == "nnmass.search"
            except Empty:
                continue
    assert received == 4 * NOTIFICATIONS


def test_old_notifications_are_deleted(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    _notify(settings)
    assert len(list(settings.notifications_dir.glob("messages/*.msg"))) == NOTIFICATIONS
    purge_notifications(settings)
    assert list(settings.notifications_dir.glob("messages/*")) == []


def _notify(settings: Settings) -> None:
    celery = make_celery(settings)
    with celery.connection_for_write() as connection:
        for _ in range(NOTIFICATIONS):
            celery.send_task("nnmass.search", queue="search", ignore_result=True, connection=connection)
