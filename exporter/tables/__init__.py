"""Tables of vectors that exist: what is wrong with their rows."""
