"""How close a drawn product is to its packshot: pictures, measures, gate."""
