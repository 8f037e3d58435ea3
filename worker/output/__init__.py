"""From an agent's pipes to numbered batches: order of writes, lines, masking, events, the bounded buffer."""
