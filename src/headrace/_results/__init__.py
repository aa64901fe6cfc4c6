"""Results: how values become bytes, where these are kept, and how they are found whole or not at all."""

from __future__ import annotations
