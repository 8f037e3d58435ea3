"""Text for a terminal, without I/O: events as lines, escape sequences, colours, widths, tables."""
