"""Keeps transformers from talking over our programs. Loads it when asked to, not before."""

from __future__ import annotations

from typing import Any


def quiet() -> None:
    """No progress bars and no advice from transformers: our programs show their own."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging  # untyped
    logging.disable_progress_bar()
    logging.set_verbosity_error()
