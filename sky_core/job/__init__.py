"""The job on paper, as both processes read it: its memory, its events in words, its progress, its bill."""
