"""What was found, in the forms that people, code hosts and CI read."""
