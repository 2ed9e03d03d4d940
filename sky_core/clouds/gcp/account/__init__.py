"""What a project on Google Cloud may do and have: permissions, quotas, and a look at all of it."""
