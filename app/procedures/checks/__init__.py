"""What procedures check before they read or write: ids, sizes, texts, times, ownership, fences, pages."""
