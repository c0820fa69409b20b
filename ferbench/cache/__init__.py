"""What lies below the cache folder: listed, checked, and kept within a bound."""
