"""MMSegmentation's room: its plain ResNet-50, and whether a config feeds it as the card says."""
