"""The provider `kubernetes`, on a real API server."""
