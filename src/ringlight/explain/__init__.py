"""Where a model looks: heat maps of images, attributions of signals, and how they are drawn."""
