"""From the bytes of a file to the volume that a network sees; whatever cannot be believed is refused by a rule."""
