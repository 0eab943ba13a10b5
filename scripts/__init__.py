"""What the shell scripts at the top level need beyond the shell. Standard library only."""
