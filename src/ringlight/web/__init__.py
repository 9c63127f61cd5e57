"""The web face; the only room with FastAPI, uvicorn and the Prometheus client."""
