"""The real PythonQt: it prints what a slot raises, which is collected here as the test runtime does it."""

import sys

errors = []


def install():
    """Collect what is printed from now on; done once."""
    if getattr(sys.excepthook, "collects", False):
        return
    before = sys.excepthook

    def collect(kind, error, trace):
        errors.append(error)
        before(kind, error, trace)

    collect.collects = True
    sys.excepthook = collect
