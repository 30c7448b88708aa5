"""The shared floor for pictures: image folders, and sheets to look at."""
