"""What procedures check before they read or write: arguments, ids, ownership, fences, pages."""
