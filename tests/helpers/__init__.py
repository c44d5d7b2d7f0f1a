"""What several tests share: small models, data, databases, servers and stand-ins."""
