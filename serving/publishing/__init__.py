"""What is handed out of a finished run, for a model hub: chosen by name, bound to the weights, written whole or not."""
