"""The stages of an attempt: placed, launched, run, ended, closed."""
