"""Use cases: what the faces (command line, API, studio) ask for."""
