"""The harness under the module path that people know from Prefect. Holds nothing of its own."""

from __future__ import annotations

from headrace.testing.harness import Harness, headrace_test_harness

__all__ = ["Harness", "headrace_test_harness"]
