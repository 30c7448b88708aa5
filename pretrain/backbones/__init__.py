"""Networks that images go in and features come out of, under torchvision's names."""
