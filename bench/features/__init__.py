"""The shared floor for features: taking them from images, and classifiers on them."""
