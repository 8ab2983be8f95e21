"""Sparse matrices of derivatives: their patterns, how few products with them tell all, and what these are."""
