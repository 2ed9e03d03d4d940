"""What is believed of markets and of what moving takes, from what a job has seen and was told."""
