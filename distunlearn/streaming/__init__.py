"""Shards to batches: what there is (manifest), who takes part (select), in which order (plan), and the bytes (reader, loader)."""
