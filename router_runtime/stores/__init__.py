"""Homes of the outcome log: the local spool and its sealed Parquet."""
