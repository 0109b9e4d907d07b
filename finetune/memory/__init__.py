"""What training needs in memory, traced without data, and which settings fit."""
