"""Renders a world of product scenes: pictures, true masks and one line of words and numbers for each.

The embedded base is trained on such a world. Nothing here is installed with the wheel;
`python -m tools.product_world --help` from the repository's root runs it. Only the modules
that render need Blender's module; what a frame shows is drawn without it.
"""
