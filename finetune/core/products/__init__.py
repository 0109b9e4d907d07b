"""Product sets and prepared sets on disk."""
