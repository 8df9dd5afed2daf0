"""Generated messages with upstream field numbers (`make proto`)."""
