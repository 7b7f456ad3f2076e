"""A Griffe extension that turns examples in docstrings into code blocks whose prompts are not copied."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
"""From the first prompt to the next empty line."""


class Examples(Extension):
    """Fences examples, which Markdown would otherwise treat as quotations."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of a collected object."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
