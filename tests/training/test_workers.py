"""Where worker processes find what they run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from training import workers


def test_a_stranger_s_package_in_the_current_folder_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").write_text("")
    told = {**os.environ, **workers._told()}
    asked = [sys.executable, "-c", "import training.workers; print(training.workers.__file__)"]
    done = subprocess.run(asked, cwd=tmp_path, env=told, capture_output=True, text=True)
    assert done.stdout.strip() == workers.__file__, done.stderr
