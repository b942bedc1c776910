"""What the product does: one handler per command, one place for the transaction."""
