"""What a pretraining run is fed with: the order of its images, and the processes that read them."""
