"""Where the product stands in a picture, its contact shadow, its pixels over the scene."""
