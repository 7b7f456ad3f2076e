"""Counts, memory sizes and durations as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnmass.amounts import count, memory, milliseconds
from nnmass.errors import DefinitionError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1200000", 1_200_000),
        ("1.2M", 1_200_000),
        ("1.2m", 1_200_000),
        (" 150 M ", 150_000_000),
        ("3k", 3_000),
        ("2G", 2 * 10**9),
        ("1T", 10**12),
        ("1_000_000", 1_000_000),
        ("1,000,000", 1_000_000),
        ("1.5e6", 1_500_000),
        ("1e+3k", 10**6),
        ("0", 0),
        (7, 7),
        (-7, -7),
        (1e6, 1_000_000),
    ],
)
def test_counts_accept_suffixes_and_separators(written: Any, meant: int) -> None:
    assert count(written) == meant
    assert type(count(written)) is int


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("300 KB", 300_000),
        ("300kb", 300_000),
        ("300K", 300_000),
        ("300 KiB", 307_200),
        ("1MiB", 2**20),
        ("0.5 GiB", 2**29),
        ("1.5MB", 1_500_000),
        ("12 B", 12),
        ("12", 12),
    ],
)
def test_memory_sizes_accept_units(written: str, meant: int) -> None:
    assert memory(written) == meant


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "M", "1.2", "one", "1 2", "1,00", "1.0001k", "-5", "1Q", "1e999999999", "1KB", "5 Mi", "٣", "0x10"),
        *(1.5, float("nan"), float("inf"), True, None, [], b"1"),
    ],
)
def test_an_invalid_count_is_refused_with_its_text(wrong: Any) -> None:
    with pytest.raises(DefinitionError) as refused:
        count(wrong, "budget.max_params")
    assert [problem.field for problem in refused.value.problems] == ["budget.max_params"]


@pytest.mark.parametrize("wrong", ["1.2", "0.5B", "1Kb/s", "1 KiBB", "1iB"])
def test_an_invalid_memory_size_is_refused(wrong: str) -> None:
    with pytest.raises(DefinitionError):
        memory(wrong)


@given(st.integers(0, 10**15), st.sampled_from(["", "k", "M", "G"]))
def test_a_formatted_count_reads_back_equal(value: int, unit: str) -> None:
    size = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[unit]
    assert count(f"{value}{unit}") == value * size == count(f"{value:,}{unit}")


@pytest.mark.parametrize(
    ("written", "value"),
    [(5, 5.0), (2.5, 2.5), ("5", 5.0), ("5ms", 5.0), ("0.5 s", 500.0), ("800us", 0.8), (" 7 MS ", 7.0)],
)
def test_durations_are_read_as_milliseconds(written: Any, value: float) -> None:
    assert milliseconds(written) == value


@pytest.mark.parametrize("written", ["", "soon", "5 m", "-5", "1e3", True, None, "5 ms ms"])
def test_an_invalid_duration_is_refused(written: Any) -> None:
    with pytest.raises(DefinitionError, match="limit: must be milliseconds"):
        milliseconds(written, "limit")
