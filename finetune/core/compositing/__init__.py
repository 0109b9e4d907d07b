"""Where the product stands in a picture, its shadow, its pixels over the scene."""
