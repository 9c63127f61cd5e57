"""What a run is, as data: the typed tree (`schema`) and how it is composed from recipe, file and overrides (`load`)."""
