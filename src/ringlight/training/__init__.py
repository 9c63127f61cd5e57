"""From a checked plan to a trained, judged and saved model; knows neither the store nor the command line."""
