"""What a notification looks like to its receiver, and how it gets there."""
