"""Programs of the checkout. numpy's products take one thread in them, as torch's do: a process here is one of many."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported
