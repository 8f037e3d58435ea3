"""Who calls and what they may do: tokens, roles, slow answers to failed sign-ins, audit of refused calls."""
