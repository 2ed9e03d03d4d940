"""What an account on AWS may do and have: permissions, quotas, and a look at all of it."""
