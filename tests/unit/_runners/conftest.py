"""Fixtures of the runners' tests: those of the promises, which runners keep."""

from __future__ import annotations

from tests.spec import conftest as promises

form, inner, record, said = promises.form, promises.inner, promises.record, promises.said
