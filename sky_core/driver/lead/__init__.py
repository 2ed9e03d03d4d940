"""Jobs with a deadline on spot: the promise, the zones to choose from, and the pilot that follows the policy."""
