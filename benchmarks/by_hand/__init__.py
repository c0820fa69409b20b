"""What a user writes without ferbench: whole matrices, not loops (those are in peers/)."""
