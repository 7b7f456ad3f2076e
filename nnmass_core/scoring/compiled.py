"""`closed_forms.add_cell_by_rows` as machine code, by numba (the optional extra `fast`).

Only `scoring` imports this module, and only when it is used: importing numba takes longer than most searches.
"""

from __future__ import annotations

import numba
from numba.extending import register_jitable

from nnmass_core.scoring import closed_forms
from nnmass_core.scoring.closed_forms import AddCell

_INTEGER = numba.int64
_SIGNATURE = numba.void(_INTEGER[::1], _INTEGER[:, ::1], _INTEGER, _INTEGER, numba.float64[:, ::1], _INTEGER[:, ::1])


def _compile(*, keep: bool) -> AddCell:
    # No fast-math: the figures equal numpy's to the last bit. numpy's error model drops tests for division by zero.
    compiler = numba.njit(_SIGNATURE, cache=keep, nogil=True, error_model="numpy")
    compiled: AddCell = compiler(closed_forms.add_cell_by_rows)
    return compiled


def _add_cell() -> AddCell:
    """Compile, or load what an earlier process cached next to the source or in the user's cache."""
    register_jitable(closed_forms.cell_figures)
    register_jitable(closed_forms.add_term)
    try:
        return _compile(keep=True)
    except (OSError, RuntimeError):  # no writable cache folder (numba raises RuntimeError), or a full disk
        return _compile(keep=False)


add_cell = _add_cell()
