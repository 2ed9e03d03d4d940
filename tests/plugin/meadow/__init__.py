"""A package that extends Skyloom without a line in Skyloom: a cloud, a spot policy and an engine."""
