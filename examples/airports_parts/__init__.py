"""
What the two airports pipelines share: a server that misbehaves, functions on records, the writing of results.

Nothing here knows of flows or tasks; those are in `airports.py` and `airports_async.py`.
"""
