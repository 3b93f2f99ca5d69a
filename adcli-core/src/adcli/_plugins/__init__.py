"""What is installed: from entry points to specs by name, and what to do about those that fail."""
