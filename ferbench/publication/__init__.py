"""What is published of a store, gathered into the records of `pages`."""
