"""Views of whole batches, on the device where they are needed: the same pixels as `bench.images.views`."""
