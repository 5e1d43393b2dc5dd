"""Who carries the bytes between server and clients."""
