"""Reading pictures and what is done to their pixels."""
