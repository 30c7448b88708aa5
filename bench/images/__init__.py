"""The shared floor for pictures: sources of images, views, and sheets to look at."""
