"""The version, which is the library's too."""

__version__ = "0.1.0"
