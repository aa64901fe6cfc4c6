"""Lock managers: who sees to it that one computes, for cache policies that name one. Leases need none of them."""
