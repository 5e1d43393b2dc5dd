"""Who takes part and what they say: clients with their keys and ledgers, the server and its rounds."""
