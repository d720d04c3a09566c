"""What the gateway answers, address by address."""
