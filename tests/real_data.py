# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Where the real faces are, for the tests that need them; the others never do."""

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("SIMFLE_DATA") or Path(__file__).parents[2] / "shared" / "data")
needs_real_faces = pytest.mark.skipif(
    not (FOLDER / "ferplus" / "train.parquet").is_file(), reason="no SIMFLE_DATA faces"
)
