"""Public checkpoints in, engine formats out: names and arrays; no engine and no torch is imported."""
