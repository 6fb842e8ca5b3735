"""AutoRound and GPTQModel ask for `datasets` when they are imported, and need it only to fetch texts, which we do not ask them to."""
import importlib.machinery
import sys
import types


def without_datasets():
    class Nothing(types.ModuleType):
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

    if "datasets" not in sys.modules:
        sys.modules["datasets"] = Nothing("datasets")
        sys.modules["datasets"].__spec__ = importlib.machinery.ModuleSpec("datasets", None)
