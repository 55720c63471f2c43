"""Training examples made from images: bent as ink, mixed with counter-examples, taught by a teacher."""
