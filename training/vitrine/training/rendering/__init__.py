"""Images made by code: scenes that stress a model, and images that show no digit."""
