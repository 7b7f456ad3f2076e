"""A history of a million searches, written by the database itself: what they ask and answer is of the usual size."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import psycopg

from bench.load.servers import OWNER

REQUEST: dict[str, Any] = {
    "space": {
        "family": "densenet_cnn",
        "input": {"channels": 3, "height": 32, "width": 32},
        "num_classes": 10,
        "cells": 3,
        "width": {"min": 16, "max": 256, "step": 16},
        "depth": {"min": 4, "max": 32, "step": 1},
        "skip_channels": {"min": 0, "max": 512, "step": 4},
    },
    "budget": {"max_params": 1000000, "max_macs": 150000000},
    "objective": {"maximize": "nn_mass"},
    "top_k": 10,
}
RESULT: dict[str, Any] = {
    "count": 10,
    "optimal": True,
    "objective_value": 784.13,
    "bound": 784.13,
    "gap": 0.0,
    "best_nn_mass": 784.13,
    "upper_bound": 784.13,
    "space_size": "170252539265024",
    "feasible": True,
    "binding": ["max_params", "max_macs"],
    "relaxation": None,
    "caveats": ["widths_differ"],
    "explored": {"labels": 3005, "pruned_by_bound": 120034},
    "elapsed_seconds": 0.07,
    "reference": None,
    "savings": None,
    "resolution": None,
}
FAMILIES = ("densenet_cnn", "densenet_mlp", "mobilenet_v2", "resnet")
ONE_IN_TAGGED = 10
SPREAD = timedelta(days=365)

JOBS = """
insert into jobs (id, kind, queue, owner, state, attempt, fence, rung_at, progress_fraction, progress_message, events,
                  created_at, started_at, finished_at)
select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
       'search', 'search', %(owner)s, case when n %% 50 = 0 then 'failed' else 'succeeded' end, 1, 1, at, 1.0,
       'finished', 0, at, at, at
from (select n, now() - %(spread)s::interval * (1 - n::float / %(rows)s) - interval '1 minute' as at
      from generate_series(1, %(rows)s) as n) as numbered
"""
SEARCHES = """
insert into searches (id, name, note, family, request, request_digest, core_version, result, result_digest)
select id, 'camera ' || right(id::text, 7), '',
       (%(families)s::text[])[1 + ('x' || right(id::text, 7))::bit(28)::int %% 4],
       %(request)s, 'sha256:' || md5(id::text), '0', %(result)s, 'sha256:' || md5(id::text)
from jobs
"""
TAGS = """
insert into search_tags (search_id, position, tag)
select id, 0, case when random() < 0.01 then 'rare' else 'edge' end from jobs where random() < 1.0 / %(one_in)s
"""


def fill(postgres_url: str, rows: int) -> None:
    """Write so many ended searches over the last year."""
    values = {
        "owner": OWNER,
        "rows": rows,
        "spread": SPREAD,
        "families": list(FAMILIES),
        "request": json.dumps(REQUEST),
        "result": json.dumps(RESULT),
        "one_in": ONE_IN_TAGGED,
    }
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for statement in (JOBS, SEARCHES, TAGS):
            connection.execute(statement, values)
        connection.execute("vacuum analyze")
