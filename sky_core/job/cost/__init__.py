"""What was spent, by whatever one asks for: the bill's own figures in pieces, added up in groups."""
