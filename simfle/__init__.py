# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""The command `simfle`: photographs and videos in, faces and their expressions out. Importing this costs nothing."""
