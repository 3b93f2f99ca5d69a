"""What is done to the interpreter and its process: imports, memory, several processes, the end."""
