"""Generated code of the public API (proto/matchengine/v1)."""
