"""Who takes part and what they say: clients with their keys and ledgers, the server and its rounds.

Both sides: `session` (what is said around the secure sum), `identity` (keys and rosters). A client: `client` (it
charges, learns, answers), `answering` (several at once), `store` (what it keeps between messages), `ledgers` (its
ledger there, and what all hold together), `homes` (where simulated ones have theirs). The server: `aggregator` (whom it
asks, what it does with a mean), `rounds` (one round over an exchange).
"""
