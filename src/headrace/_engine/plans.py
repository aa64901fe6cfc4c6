"""Plans: what becomes of the results of a flow or task, as its options, the flow around and the settings say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from headrace._engine import lines
from headrace._engine.policies import DEFAULT, CacheKeyFnPolicy, CachePolicy, IsolationLevel, NoCache
from headrace._engine.spec import Spec

# Who gives one of these wants results kept.
KEPT: Final = ("cache_expiration", "result_storage", "result_serializer", "result_storage_key")


@attrs.frozen
class Keeps:
    """
    What becomes of the results of runs, as far as somebody said so: a flow for those below it, or the settings.

    Attributes:
        persist: Whether they are kept; None where nobody said.
        storage, codec: Where large ones lie, and in which form; None for the usual.
        in_memory: Whether they are known without asking the store.
        refresh: Whether they are computed anew.
    """

    persist: bool | None = None
    storage: Any = None
    codec: Any = None
    in_memory: bool = True
    refresh: bool = False

    @property
    def usual(self) -> bool:
        """Whether small results lie in the store, as JSON where they can, and are known for a while."""
        return self.storage is None and self.codec is None and self.in_memory

    def under(self, above: Keeps | None) -> Keeps:
        """Give it with what *above* says where it says nothing."""
        if above is None:
            return self
        return Keeps(
            above.persist if self.persist is None else self.persist,
            self.storage or above.storage,
            self.codec or above.codec,
            self.in_memory and above.in_memory,
            self.refresh or above.refresh,
        )


@attrs.frozen
class Plan:
    """
    What the options of one flow or task say about its results.

    Attributes:
        policy: What a cache key is made of; None for no caching.
        lasts: Nanoseconds for which a cached result counts; None for ever.
        refreshes: Whether it is computed anew; None as the settings say.
        template: The name under which it lies in the storage.
        usual: Whether keys lie in the store, and no other process is waited for.
    """

    own: Keeps
    policy: CachePolicy | None
    lasts: int | None
    refreshes: bool | None
    template: str | None
    usual: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        policy = self.policy
        elsewhere = policy is not None and policy.key_storage is not None
        object.__setattr__(self, "usual", not (elsewhere or self.serial))

    @property
    def serial(self) -> bool:
        """Whether other processes are to wait for who computes: said, or meant by who brings a lock manager."""
        policy = self.policy
        asked = policy is not None and policy.isolation_level is IsolationLevel.SERIALIZABLE
        return asked or (policy is not None and policy.lock_manager is not None)


def plan_of(spec: Spec) -> Plan:
    """Settle the options of *spec*."""
    options = spec.options
    persist = options.get("persist_result")
    policy = policy_of(spec, options, persist)
    cached = policy is not None and (options.get("cache_policy") or options.get("cache_key_fn")) is not None
    if persist is None and (cached or any(options.get(name) is not None for name in KEPT)):
        persist = True
    return Plan(
        Keeps(
            persist,
            options.get("result_storage"),
            options.get("result_serializer"),
            options.get("cache_result_in_memory", True),
        ),
        policy,
        None if options.get("cache_expiration") is None else int(options["cache_expiration"] * 1e9),
        options.get("refresh_cache"),
        options.get("result_storage_key"),
    )


def policy_of(spec: Spec, options: Mapping[str, Any], persist: bool | None) -> CachePolicy | None:
    """Give the policy that *options* ask for; None for no caching. Contradictions are said, as they are no mistake."""
    if spec.kind == "flow":
        return None
    given, function = options.get("cache_policy"), options.get("cache_key_fn")
    if persist is False:
        if given is not None or function is not None:
            lines.ENGINE.warning("Task %r is not cached: persist_result is False", spec.name)
        return None
    if function is not None:
        if given is not None:
            lines.ENGINE.warning("Task %r has both cache_policy and cache_key_fn; cache_key_fn is used", spec.name)
        return CacheKeyFnPolicy(function)
    if given is not None:
        return None if isinstance(given, NoCache) else given
    return None if options.get("result_storage_key") is not None else DEFAULT
