"""What an attempt's processes can reach: one module for each kind of sandbox, and the choice among them."""
