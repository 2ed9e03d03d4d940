"""What the clouds' accounts are good for: asked, looked into, and tried."""
