"""What a frozen part of a backbone says of images: cut off, computed once, kept, and trained on."""
