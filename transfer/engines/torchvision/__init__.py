"""torchvision's ResNet-50 as a classifier, frozen or fine-tuned, and classifiers on its features."""
