"""The models of `configs/transfer/*.toml`: every field that makes a transfer number, with unit and range."""
