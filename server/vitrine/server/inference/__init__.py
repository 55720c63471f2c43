"""The service that answers requests, and what gathers and bounds them. Plain data in, plain data out."""
