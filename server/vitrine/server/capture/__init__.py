"""Keeps a sample of answered images in Parquet files, for their operator to replay against another model.

It knows answers as plain data, and no request, no call and no transport. Nothing that a caller sends can read it.
"""
