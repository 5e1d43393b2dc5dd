"""The conversation itself: what is held back before it is said, kept so that nobody else reads it, or made up anew.

`filter` marks and replaces what names people and things, `log` keeps messages that their owner alone can search, and
`synthetic` draws dialogues from a model. Knows no federation and no page.
"""
