"""What is measured, and how people write it: time and size, durations."""
