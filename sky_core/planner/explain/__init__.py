"""What is told beside a plan: what it was chosen over, what it takes for granted, what to know before paying."""
