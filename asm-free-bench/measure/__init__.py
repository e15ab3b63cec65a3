"""What `peers` and `growth` have in common: servers, handlers, load, accounting, tables."""
