# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""
Every process of the tests keeps the code of remote models in a folder of its own.

Transformers and evaluate read this variable when they are imported, so it is set here, before conftest.py. The user's
cache stays as it is, and two workers never write the same files.
"""

import os
import tempfile

modules_cache = tempfile.TemporaryDirectory(prefix="simfle_modules_")
os.environ["HF_MODULES_CACHE"] = modules_cache.name
