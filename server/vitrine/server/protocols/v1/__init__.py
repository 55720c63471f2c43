"""`vitrine.v1.ClassifierService`: Vitrine's own protocol."""
