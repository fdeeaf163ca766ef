"""The gateway's side of serving: data plane, batcher, pool, instance processes."""
