"""Computing on what stays encrypted: the next word, from a server that cannot read the question.

`network` is what is computed, `layout` how slots do it, `cipher` the library, `wire` what travels and `inference` the
steps of both sides, from bytes to bytes. docs/encrypted.md says what is claimed.
"""
