"""Methods of pretraining, one module each; see training/pretraining/method.py."""

import pkgutil


def method_names() -> list[str]:
    """The names of the modules that are there; none is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))
