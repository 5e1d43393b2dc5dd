"""What an audit does to a finished run: each attack or check in a module of its own, from the run's folder to a Part.

The formulas are `chatfed/audit/`'s; what is here opens models and tokens, and knows what the run did.
"""
