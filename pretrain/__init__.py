"""Makes ResNet checkpoints: supervised and contrastive pretraining."""
