"""What was agreed and what follows from it: settings, checks, cost, codes, secure sum, claim. Pure but for recipes.

As it is written: `recipe` (every key), on `settings` (what a key may be), `tables` (TOML), `origins` (where each key
was given) and `checks` (keys together). What follows: `survivors` and `sums` (the secure sum's sizes and floors),
`codec` and `upload` (an update as ring elements), `terms` (what a client is charged), `agreement` (what server and
clients hold each other to). What is claimed: `claims` (the guarantee), on `groups` and `repeats` (several units of one
person, copies), then `meaning` (what it is to a person). All of it: `plan`, resolved once, and `in_words` to say it.
"""
