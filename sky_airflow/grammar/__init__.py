"""What an operator's author may write, and what it comes to in a spec."""
