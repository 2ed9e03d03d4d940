"""What a subscription of Azure may do and have: permissions, quotas, and a look at all of it."""
