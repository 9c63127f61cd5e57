"""From a saved bundle to scores."""
