"""Trains the embedded base: a small SDXL inpainting model that ships in the package.

Nothing here is installed with the wheel; `python -m tools.embedded_base --help`
from the repository's root runs it.
"""
