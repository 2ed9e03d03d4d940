"""Where prices come from, one file for each."""
