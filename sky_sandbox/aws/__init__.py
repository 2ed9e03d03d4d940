"""AWS on loopback: moto, with what it lacks of EC2 laid over it."""
