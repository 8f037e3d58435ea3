"""Its tests share what the fixtures of the package begin."""
