"""What a visitor reads, apart from code: a file of texts for each language; reading.py takes a text from it."""

from .reading import FIRST, Texts, TextsError, languages, places, read_texts

__all__ = ["FIRST", "Texts", "TextsError", "languages", "places", "read_texts"]
