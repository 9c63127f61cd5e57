"""The server of models: one request to one answer, many requests to one batch."""
