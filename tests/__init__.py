"""Tests. Coverage, where it is asked for, begins here: before a test imports the product."""

from tests import measured as measured
