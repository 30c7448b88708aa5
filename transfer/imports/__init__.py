"""Output folders of stock engines, adopted as records. Files are read as text; no engine is imported."""
