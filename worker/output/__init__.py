"""From an agent's pipes to numbered batches: the order of writes, lines, masking, events, and the bounded buffer."""
