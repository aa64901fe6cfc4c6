"""Measures what Headrace costs beside the same work by hand; no test, and never imported by the package."""
