"""Shards, tables and manifests, whole or not there, the same bytes every time."""
