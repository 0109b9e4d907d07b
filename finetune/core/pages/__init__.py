"""HTML pages: one base template and one stylesheet for all of them."""
